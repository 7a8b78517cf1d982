/*
 * output.h - standard output: text from models and files, and what the program says about them.
 *
 * On a terminal, control characters of the text (C0 but for newline and tab, DEL, C1, broken UTF-8) are shown as
 * U+FFFD: a model must not be able to move the cursor, set the title or answer the terminal's questions. Into files and
 * pipes bytes go as they are.
 *
 * Errors are sticky: writing never fails, output_flush says whether anything did. A closed pipe is no error:
 * `is_closed` is set and the rest is dropped; who produces text for long looks at it and stops.
 *
 * Threads: the main thread.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "strbuf.h"

typedef struct output {
    int fd;
    bool is_terminal;
    bool is_closed; /* the reader went away */
    int os_errno;   /* the first failure of another kind */
    bool ends_line; /* the last byte written was a newline, or nothing was written */
    strbuf pending;
    leat_status status; /* of memory for pending */
} output;

void output_init(output *out, mem *ledger, int fd);
/* One that keeps what is written in `pending`; `status` says whether memory sufficed. It is not flushed. */
void output_init_memory(output *out, mem *ledger);
void output_reset(output *out);
void output_write(output *out, const char *bytes, size_t count);
void output_print(output *out, const char *format, ...) PRINTF_LIKE(2, 3);
/* Escape sequences of our own; dropped unless standard output is a terminal. */
void output_control(output *out, const char *sequence);
/* LEAT_IO when anything since output_init could not be written. */
MUST_CHECK leat_status output_flush(output *out, leat_error *error);

#endif
