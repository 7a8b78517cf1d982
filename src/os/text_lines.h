/*
 * text_lines.h - the small text files of /proc and /sys, line by line, on the stack: they have no size to ask for, and
 * the memory limit is read before there is a ledger.
 */
#ifndef OS_TEXT_LINES_H
#define OS_TEXT_LINES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_LINE_BYTES = 8192, OS_PATH_BYTES = 4096 };

typedef struct text_lines {
    int fd;
    size_t start, end; /* the unread bytes of `buffer` */
    bool at_end;
    char buffer[TEXT_LINE_BYTES];
} text_lines;

/* false when the file cannot be opened. */
MUST_CHECK bool text_lines_open(text_lines *lines, const char *path);
/* The next line, terminated, without its newline; NULL at the end. It stays valid until the next call. The rest of a
 * line that is longer than the buffer comes as further lines. */
char *text_lines_next(text_lines *lines);
void text_lines_close(text_lines *lines);

/* false when the joined path does not fit in OS_PATH_BYTES. */
MUST_CHECK bool path_format(char out[OS_PATH_BYTES], const char *format, ...) PRINTF_LIKE(2, 3);
/* The digits at the start of the file's first line; false when there are none or they pass 64 bits. */
MUST_CHECK bool read_u64_file(const char *path, uint64_t *out_value);
/* The number after `key` and its separators in a file of "key value" lines; the key is matched to its end. */
MUST_CHECK bool read_u64_field(const char *path, const char *key, uint64_t *out_value);
/* Digits at the start of the text, after spaces. */
MUST_CHECK bool parse_u64(const char *text, uint64_t *out_value);

#endif
