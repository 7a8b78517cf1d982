/*
 * line_editor.h - one question from a terminal: Emacs keys, UTF-8 and wide characters, history, bracketed paste.
 *
 * Not for pipes: they are read by input.h's line_reader. The terminal is in raw mode only inside line_editor_read.
 *
 * Threads: the main thread.
 */
#ifndef CLI_LINE_EDITOR_H
#define CLI_LINE_EDITOR_H

#include "completion.h"
#include "history.h"
#include "strbuf.h"

typedef enum edit_end {
    EDIT_LINE,    /* Enter */
    EDIT_EOF,     /* Ctrl-D on an empty line, or the terminal is gone */
    EDIT_CLEARED, /* Ctrl-C: what was typed is dropped */
    EDIT_REFUSED, /* Ctrl-C with nothing typed */
} edit_end;

/* Either may be NULL. */
typedef struct line_editor_hooks {
    /* Tab: offers words for the end of the line. */
    leat_status (*complete)(void *user, const char *line, completion *out, leat_error *error);
    void (*idle)(void *user); /* about once a second while nothing is typed */
    void *user;
} line_editor_hooks;

typedef struct line_editor {
    history *past; /* borrowed */
    line_editor_hooks hooks;
    /* the rest belongs to the editor */
    const char *prompt, *continuation;
    strbuf *text;
    size_t cursor;       /* byte offset in text */
    uint32_t cursor_row; /* rows below the one with the prompt */
    size_t past_idx;     /* entry shown; past->count: the new line */
    strbuf saved;        /* the new line while an old one is shown */
    strbuf killed;       /* for Ctrl-Y */
    strbuf screen;       /* one frame's bytes */
} line_editor;

void line_editor_init(line_editor *e, mem *ledger, history *past, line_editor_hooks hooks);
void line_editor_reset(line_editor *e);
/* Replaces *text. Newlines within it come from pastes and Alt-Enter. LEAT_CANCELLED after SIGTERM and SIGHUP. */
MUST_CHECK leat_status line_editor_read(line_editor *e, const char *prompt, const char *continuation, strbuf *text,
                                        edit_end *out_end, leat_error *error);

#endif
