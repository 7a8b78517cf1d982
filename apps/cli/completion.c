#include "completion.h"

#include "paths.h"
#include "terminal.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void completion_reset(completion *c) { strbuf_reset(&c->words); }

leat_status completion_offer(completion *c, const char *typed, const char *word, leat_error *error)
{
    if (strncmp(word, typed, strlen(typed)) != 0 || c->count == COMPLETION_WORDS_MAX) return LEAT_OK;
    TRY(strbuf_append(&c->words, word, strlen(word) + 1, error));
    c->count++;
    return LEAT_OK;
}

/* A name with control characters could do to the terminal what a model must not. */
static bool can_be_shown(const char *name)
{
    const size_t count = strlen(name);
    for (size_t at = 0; at < count;) {
        uint32_t scalar;
        const size_t length = utf8_decode(name + at, count - at, &scalar, NULL);
        if (length == 0 || scalar < 0x20 || (scalar >= 0x7f && scalar < 0xa0)) return false;
        at += length;
    }
    return true;
}

static leat_status offer_file(completion *c, int folder_fd, const char *typed, const char *folder, const char *name,
                              leat_error *error)
{
    char word[PATH_BYTES_MAX];
    struct stat facts;
    const bool is_folder = fstatat(folder_fd, name, &facts, 0) == 0 && S_ISDIR(facts.st_mode);
    const int length = snprintf(word, sizeof word, "%s%s%s", folder, name, is_folder ? "/" : "");
    if (length < 0 || (size_t)length >= sizeof word) return LEAT_OK;
    return completion_offer(c, typed, word, error);
}

leat_status completion_offer_files(completion *c, const char *typed, leat_error *error)
{
    char folder[PATH_BYTES_MAX] = "", place[PATH_BYTES_MAX];
    const char *slash = strrchr(typed, '/'), *base = slash ? slash + 1 : typed;
    if (strlen(typed) >= sizeof folder) return LEAT_OK;
    memcpy(folder, typed, (size_t)(base - typed));
    if (!path_expand(*folder ? folder : ".", place)) return LEAT_OK;
    DIR *entries = opendir(place);
    leat_status status = LEAT_OK;
    if (!entries) return LEAT_OK;
    c->name_from = (size_t)(base - typed);
    for (struct dirent *entry; status == LEAT_OK && (entry = readdir(entries)) != NULL;) {
        const bool is_hidden = entry->d_name[0] == '.' && *base != '.';
        const bool is_place = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (is_hidden || is_place || strncmp(entry->d_name, base, strlen(base)) != 0) continue;
        if (can_be_shown(entry->d_name)) status = offer_file(c, dirfd(entries), typed, folder, entry->d_name, error);
    }
    closedir(entries);
    return status;
}

size_t completion_common(const completion *c)
{
    const char *first = strbuf_text(&c->words), *word = first;
    size_t common = strlen(first);
    for (uint32_t i = 0; i < c->count; i++, word += strlen(word) + 1) {
        size_t shared = 0;
        while (shared < common && first[shared] == word[shared]) shared++;
        common = shared;
    }
    while (common > 0 && ((unsigned char)first[common] & 0xc0) == 0x80) common--; /* whole characters */
    return common;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static leat_status write_columns(const char *const *words, uint32_t count, size_t from, uint32_t columns, strbuf *out,
                                 leat_error *error)
{
    uint32_t widest = 1, col = 0;
    for (uint32_t i = 0; i < count; i++)
        widest = (uint32_t)max_u64(widest, terminal_width(words[i] + from, strlen(words[i] + from)) + 2);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = words[i] + from;
        uint32_t width = terminal_width(name, strlen(name));
        if (col > 0 && col + widest > columns) {
            TRY(strbuf_append_text(out, "\r\n", error));
            col = 0;
        }
        TRY(strbuf_append_text(out, name, error));
        for (; width < widest; width++) TRY(strbuf_append_text(out, " ", error));
        col += widest;
    }
    return strbuf_append_text(out, "\r\n", error);
}

leat_status completion_list(const completion *c, uint32_t columns, strbuf *out, leat_error *error)
{
    const char **words, *word = strbuf_text(&c->words);
    if (c->count == 0) return LEAT_OK;
    TRY(MEM_NEW(c->words.ledger, META, c->count, &words, error));
    for (uint32_t i = 0; i < c->count; i++, word += strlen(word) + 1) words[i] = word;
    qsort(words, c->count, sizeof *words, compare_words);
    leat_status status = write_columns(words, c->count, c->name_from, columns, out, error);
    mem_free(c->words.ledger, words);
    return status;
}
