#include "history.h"

#include "paths.h"
#include "strbuf.h"

#include "os/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_BYTES_MAX = 16 << 20, HISTORY_MODE = 0600 };

static leat_status keep(history *past, const char *text, leat_error *error)
{
    char *copy;
    size_t bytes = strlen(text) + 1;
    TRY(MEM_NEW(past->ledger, META, bytes, &copy, error));
    memcpy(copy, text, bytes);
    if (past->count == HISTORY_ENTRIES_MAX) {
        mem_free(past->ledger, past->entries[0]);
        memmove(past->entries, past->entries + 1, (HISTORY_ENTRIES_MAX - 1) * sizeof past->entries[0]);
        past->count--;
    }
    past->entries[past->count++] = copy;
    return LEAT_OK;
}

/* In place: what is read is never longer than what was written. */
static void unescape(char *line)
{
    char *to = line;
    for (const char *from = line; *from; from++) {
        if (*from == '\\' && from[1] != '\0') {
            from++;
            *to++ = *from == 'n' ? '\n' : *from;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static leat_status escape(const char *text, strbuf *line, leat_error *error)
{
    for (; *text; text++) {
        if (*text == '\n')
            TRY(strbuf_append_text(line, "\\n", error));
        else if (*text == '\\')
            TRY(strbuf_append_text(line, "\\\\", error));
        else
            TRY(strbuf_append(line, text, 1, error));
    }
    return strbuf_append_text(line, "\n", error);
}

/* A file that has grown beyond what is kept is written anew. */
static leat_status shorten_file(const history *past, size_t line_count, leat_error *error)
{
    if (line_count <= HISTORY_ENTRIES_MAX) return LEAT_OK;
    strbuf lines = {.ledger = past->ledger};
    leat_status status = LEAT_OK;
    for (size_t i = 0; i < past->count && status == LEAT_OK; i++) status = escape(past->entries[i], &lines, error);
    if (status == LEAT_OK) {
        leat_status ignored = file_replace(past->path, strbuf_text(&lines), lines.count, HISTORY_MODE, NULL);
        (void)ignored;
    }
    strbuf_reset(&lines);
    return status;
}

static leat_status read_file(history *past, leat_error *error)
{
    char *text;
    uint64_t bytes;
    if (file_load(past->ledger, MEM_META, AT_FDCWD, past->path, false, HISTORY_BYTES_MAX, &text, &bytes, NULL) !=
        LEAT_OK)
        return LEAT_OK;
    leat_status status = LEAT_OK;
    size_t line_count = 0;
    for (char *rest = text, *line; status == LEAT_OK && (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0') continue;
        unescape(line);
        line_count++;
        status = keep(past, line, error);
    }
    mem_free(past->ledger, text);
    TRY(status);
    return shorten_file(past, line_count, error);
}

leat_status history_open(mem *ledger, history **out_history, leat_error *error)
{
    const char *is_off = getenv("LEAT_NOHISTORY");
    history *past;
    TRY(MEM_NEW(ledger, META, 1, &past, error));
    past->ledger = ledger;
    if ((is_off && *is_off) || !path_in_home("XDG_STATE_HOME", ".local/state", "leat/history", past->path))
        past->path[0] = '\0';
    leat_status status = past->path[0] ? read_file(past, error) : LEAT_OK;
    if (status != LEAT_OK) {
        history_close(&past);
        return status;
    }
    *out_history = past;
    return LEAT_OK;
}

void history_close(history **past)
{
    if (!*past) return;
    mem *ledger = (*past)->ledger;
    for (size_t i = 0; i < (*past)->count; i++) mem_free(ledger, (*past)->entries[i]);
    mem_free(ledger, *past);
    *past = NULL;
}

static leat_status append_to_file(const history *past, const char *text, leat_error *error)
{
    if (!path_make_folders(past->path)) return LEAT_OK;
    strbuf line = {.ledger = past->ledger};
    leat_status status = escape(text, &line, error);
    int fd =
        status == LEAT_OK ? open(past->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, HISTORY_MODE) : -1;
    if (fd >= 0) {
        bool is_private = fchmod(fd, HISTORY_MODE) == 0; /* whoever made it, and however */
        ssize_t ignored = is_private ? write(fd, line.bytes, line.count) : 0;
        (void)ignored;
        close(fd);
    }
    strbuf_reset(&line);
    return status;
}

leat_status history_add(history *past, const char *text, leat_error *error)
{
    if (*text == '\0' || *text == ' ') return LEAT_OK;
    if (past->count > 0 && strcmp(past->entries[past->count - 1], text) == 0) return LEAT_OK;
    TRY(keep(past, text, error));
    return past->path[0] ? append_to_file(past, text, error) : LEAT_OK;
}
