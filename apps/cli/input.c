#include "input.h"

#include "report.h"
#include "signals.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, PATIENCE_MS = 2000, IDLE_MS = 1000 };

static const char stdin_name[] = "standard input";

/* Someone who left a pipe open should learn what the program is waiting for. */
static void explain_waiting(int fd, const char *name)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, PATIENCE_MS) == 0) report_note("leat: reading %s ...", name);
}

/* Appends at most READ_BYTES; *out_bytes is 0 at the end of the file. */
static leat_status read_some(int fd, const char *name, uint64_t bytes_max, strbuf *text, size_t *out_bytes,
                             leat_error *error)
{
    TRY(strbuf_reserve(text, READ_BYTES, error));
    ssize_t count;
    do {
        if (signals_cancel) return FAIL(error, CANCELLED, "%s: cancelled", name);
        count = read(fd, text->bytes + text->count, READ_BYTES);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return FAIL_OS(error, IO, errno, "%s: read failed: %s", name, strerror(errno));
    strbuf_extend(text, (size_t)count);
    if (text->count > bytes_max) {
        leat_status status = FAIL(error, USAGE, "%s: more than %llu bytes", name, (unsigned long long)bytes_max);
        status_hint(error, "--max-prompt-bytes raises the limit");
        return status;
    }
    *out_bytes = (size_t)count;
    return LEAT_OK;
}

static leat_status read_all(int fd, const char *name, uint64_t bytes_max, strbuf *text, leat_error *error)
{
    size_t count;
    bool is_patient = true;
    do {
        if (is_patient) explain_waiting(fd, name);
        is_patient = false;
        TRY(read_some(fd, name, bytes_max, text, &count, error));
    } while (count > 0);
    return LEAT_OK;
}

/* A folder opens, too, and says what it is only when it is read. */
static leat_status open_file(const char *path, int *out_fd, leat_error *error)
{
    struct stat facts;
    if (*path == '\0') return FAIL(error, USAGE, "the name of the file to read is empty");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return FAIL_OS(error, USAGE, errno, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        close(fd);
        return FAIL(error, USAGE, "%s: is a folder, not a file", path);
    }
    *out_fd = fd;
    return LEAT_OK;
}

leat_status input_read_file(const cli *c, const char *path, strbuf *text, leat_error *error)
{
    int fd;
    uint64_t bytes_max = c->options.max_prompt_bytes;
    if (strcmp(path, "-") == 0) return read_all(STDIN_FILENO, stdin_name, bytes_max, text, error);
    TRY(open_file(path, &fd, error));
    leat_status status = read_all(fd, path, bytes_max, text, error);
    close(fd);
    return status;
}

/* A pipe, a file or a socket: something that someone put there. Not a terminal, and not /dev/null. */
static bool stdin_is_piped(void)
{
    struct stat facts;
    return fstat(STDIN_FILENO, &facts) == 0 &&
           (S_ISFIFO(facts.st_mode) || S_ISREG(facts.st_mode) || S_ISSOCK(facts.st_mode));
}

/* Not so when the program was started without standard input. */
static bool stdin_is_readable(void)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY;
}

static leat_status append_stdin(const cli *c, strbuf *text, leat_error *error)
{
    size_t before = text->count;
    TRY(strbuf_append_text(text, "\n\n", error));
    TRY(input_read_file(c, "-", text, error));
    if (text->count == before + 2) strbuf_cut(text, before); /* an empty pipe adds nothing */
    return LEAT_OK;
}

static leat_status refuse_nothing(const cli *c, const input_rules *rules, leat_error *error)
{
    const verb_spec *verb = &verb_specs[c->verb];
    leat_status status = FAIL(error, USAGE, "leat %s needs %s", verb->name, rules->expected);
    status_hint(error, "usage: leat %s [options] %s; see leat help %s", verb->name, verb->words, verb->name);
    return status;
}

leat_status input_read(const cli *c, const input_rules *rules, strbuf *out_text, leat_error *error)
{
    const char *file = c->options.file, *prompt = c->options.prompt, *word = rules->word;
    strbuf_cut(out_text, 0);
    if (word && (rules->word_is_file || strcmp(word, "-") == 0)) {
        if (c->options.is_on_command_line[OPTION_file])
            return FAIL(error, USAGE, "--file: '%s' is already the input", word);
        file = word;
        word = NULL;
    }
    if (word && c->options.is_on_command_line[OPTION_prompt])
        return FAIL(error, USAGE, "--prompt: '%s' is already the text", word);
    if (word) prompt = word;
    if (file && prompt) return FAIL(error, USAGE, "two texts are given: %s, and one in place", file);
    if (file) {
        TRY(input_read_file(c, file, out_text, error));
        if (out_text->count == 0 && rules->refuses_empty) return refuse_nothing(c, rules, error);
        return rules->appends_stdin && strcmp(file, "-") != 0 && stdin_is_piped() ? append_stdin(c, out_text, error)
                                                                                  : LEAT_OK;
    }
    if (prompt) {
        TRY(strbuf_append_text(out_text, prompt, error));
        return rules->appends_stdin && stdin_is_piped() ? append_stdin(c, out_text, error) : LEAT_OK;
    }
    if (isatty(STDIN_FILENO) || !stdin_is_readable()) return refuse_nothing(c, rules, error);
    TRY(input_read_file(c, "-", out_text, error));
    return out_text->count > 0 ? LEAT_OK : refuse_nothing(c, rules, error);
}

leat_status input_check_text(const char *name, const char *bytes, size_t count, leat_error *error)
{
    size_t valid = utf8_valid_bytes(bytes, count);
    return valid == count ? LEAT_OK : FAIL(error, USAGE, "%s is not valid UTF-8 at byte %zu", name, valid);
}

leat_status input_refuse_length(size_t token_count, uint32_t ctx, const leat_model_info *info, leat_error *error)
{
    leat_status status = FAIL(error, CONTEXT, "%zu tokens do not fit the context of %u", token_count, ctx);
    if (token_count <= info->context_max)
        status_hint(error, "--ctx %zu or more makes room; the model allows %u", token_count, info->context_max);
    else
        status_hint(error, "the model allows %u at most", info->context_max);
    return status;
}

leat_status input_check_tokens(const u32_list *ids, uint32_t vocab_size, leat_error *error)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->items[i] >= vocab_size)
            return FAIL(error, USAGE, "--tokens: token %zu has the id %u, the vocabulary ends at %u", i, ids->items[i],
                        vocab_size - 1);
    return LEAT_OK;
}

leat_status input_read_tokens(const cli *c, u32_list *out_ids, leat_error *error)
{
    const char *text = c->options.tokens;
    if (text[0] != '@') {
        TRY(u32_list_read(out_ids, "--tokens", text, strlen(text), error));
    } else {
        strbuf content = {.ledger = c->ledger};
        leat_status status = input_read_file(c, text + 1, &content, error);
        if (status == LEAT_OK) status = u32_list_read(out_ids, text + 1, strbuf_text(&content), content.count, error);
        strbuf_reset(&content);
        TRY(status);
    }
    return out_ids->count > 0 ? LEAT_OK : FAIL(error, USAGE, "--tokens: there are none");
}

leat_status line_reader_open(const cli *c, const char *word, line_reader *out_reader, leat_error *error)
{
    static const option_id texts[] = {OPTION_prompt, OPTION_tokens};
    const bool *is_given = c->options.is_on_command_line;
    const char *path = word ? word : c->options.file;
    *out_reader = (line_reader){.fd = STDIN_FILENO, .name = stdin_name, .pending = {.ledger = c->ledger}};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (is_given[texts[i]])
            return FAIL(error, USAGE, "--%s: with --batch the lines of a file, or of standard input, are the texts",
                        option_specs[texts[i]].name);
    if (word && is_given[OPTION_file]) return FAIL(error, USAGE, "--file: '%s' is already the input", word);
    if (!path || strcmp(path, "-") == 0) return LEAT_OK;
    TRY(open_file(path, &out_reader->fd, error));
    out_reader->name = path;
    return LEAT_OK;
}

void line_reader_close(line_reader *reader)
{
    if (reader->fd != STDIN_FILENO) close(reader->fd);
    strbuf_reset(&reader->pending);
}

static void wait_for_input(const line_reader *reader)
{
    struct pollfd waiting = {.fd = reader->fd, .events = POLLIN};
    while (reader->idle && !signals_cancel && poll(&waiting, 1, IDLE_MS) == 0) reader->idle(reader->idle_user);
}

leat_status line_reader_next(line_reader *reader, uint64_t bytes_max, strbuf *line, bool *out_has_line,
                             leat_error *error)
{
    strbuf_cut(line, 0);
    for (size_t seen = 0;;) {
        const char *text = strbuf_text(&reader->pending),
                   *newline = memchr(text + seen, '\n', reader->pending.count - seen);
        if (newline || reader->is_at_end) {
            size_t length = newline ? (size_t)(newline - text) : reader->pending.count;
            *out_has_line = newline || length > 0;
            TRY(strbuf_append(line, text, length, error));
            strbuf_drop_front(&reader->pending, length + (newline != NULL));
            return LEAT_OK;
        }
        size_t count;
        seen = reader->pending.count;
        wait_for_input(reader);
        TRY(read_some(reader->fd, reader->name, bytes_max, &reader->pending, &count, error));
        reader->is_at_end = count == 0;
    }
}
