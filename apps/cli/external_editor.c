#include "external_editor.h"

#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EDITED_BYTES_MAX = 16 * 1024 * 1024, READ_BYTES = 64 * 1024 };

static leat_status write_text(int fd, const char *path, const strbuf *text, leat_error *error)
{
    for (size_t at = 0; at < text->count;) {
        ssize_t count = write(fd, text->bytes + at, text->count - at);
        if (count < 0 && errno != EINTR)
            return FAIL_OS(error, USAGE, errno, "%s: write failed: %s", path, strerror(errno));
        at += count > 0 ? (size_t)count : 0;
    }
    return LEAT_OK;
}

static leat_status read_text(const char *path, strbuf *text, leat_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* by name: editors put a new file in its place */
    leat_status status = LEAT_OK;
    ssize_t count = fd < 0 ? -1 : 1;
    while (status == LEAT_OK && count > 0 && text->count < EDITED_BYTES_MAX) {
        status = strbuf_reserve(text, READ_BYTES, error);
        if (status != LEAT_OK) break;
        count = read(fd, text->bytes + text->count, READ_BYTES);
        if (count > 0) strbuf_extend(text, (size_t)count);
    }
    int os_errno = errno;
    if (fd >= 0) close(fd);
    TRY(status);
    if (count < 0) return FAIL_OS(error, USAGE, os_errno, "%s: cannot be read: %s", path, strerror(os_errno));
    if (text->count > 0 && text->bytes[text->count - 1] == '\n') strbuf_cut(text, text->count - 1);
    const char *bytes = strbuf_text(text);
    if (strlen(bytes) == text->count && utf8_valid_bytes(bytes, text->count) == text->count) return LEAT_OK;
    return FAIL(error, USAGE, "the edited text is not valid UTF-8");
}

/* system() keeps Ctrl-C from us while the editor has the terminal. The path is no part of the command's text. */
static leat_status run_editor(const char *path, leat_error *error)
{
    if (setenv("LEAT_EDITED_FILE", path, 1) != 0) return FAIL(error, NO_MEMORY, "no memory for the editor");
    int result = system("${VISUAL:-${EDITOR:-vi}} \"$LEAT_EDITED_FILE\"");
    unsetenv("LEAT_EDITED_FILE");
    if (result == 0) return LEAT_OK;
    leat_status status = FAIL(error, USAGE, "the editor failed; the text is as it was");
    status_hint(error, "VISUAL or EDITOR in the environment names it");
    return status;
}

static leat_status edit(int fd, const char *path, strbuf *text, leat_error *error)
{
    strbuf edited = {.ledger = text->ledger};
    leat_status status = write_text(fd, path, text, error);
    if (status == LEAT_OK) status = run_editor(path, error);
    if (status == LEAT_OK) status = read_text(path, &edited, error);
    if (status == LEAT_OK) {
        strbuf_cut(text, 0);
        status = strbuf_append(text, strbuf_text(&edited), edited.count, error);
    }
    strbuf_reset(&edited);
    return status;
}

leat_status external_editor_run(strbuf *text, leat_error *error)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    int length = snprintf(path, sizeof path, "%s/leat-XXXXXX.txt", folder && *folder ? folder : "/tmp");
    if (length < 0 || (size_t)length >= sizeof path) return FAIL(error, USAGE, "TMPDIR is too long");
    int fd = mkostemps(path, 4, O_CLOEXEC);
    if (fd < 0) return FAIL_OS(error, USAGE, errno, "%s: cannot be created: %s", path, strerror(errno));
    leat_status status = edit(fd, path, text, error);
    close(fd);
    unlink(path);
    return status;
}
