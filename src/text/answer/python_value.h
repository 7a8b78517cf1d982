/*
 * python_value.h - literals of Python inside of what a model writes, rewritten as JSON: strings in either quotes with
 * Python's escapes, numbers, True, False, None (and JSON's words for them), lists, and dicts whose keys are strings.
 *
 * A quote ends a string only where a comma, a colon or a closing bracket follows: templates have been seen to write
 * strings between quotes without escaping the quotes in them.
 *
 * Threads: no state outside of the arguments.
 */
#ifndef TEXT_ANSWER_PYTHON_VALUE_H
#define TEXT_ANSWER_PYTHON_VALUE_H

#include "text/answer/json_span.h"

typedef struct python_text {
    const char *text;
    uint64_t at, end;
    text_buffer *out;
    text_buffer *scratch; /* what a string says, while it is rewritten */
} python_text;

/* Whether a quote that this byte is behind, but for white space, ends its string. */
bool python_ends_string(char next);
void python_skip_space(python_text *p);
/* Moves behind the byte when it is next, white space before it aside. */
bool python_take(python_text *p, char c);
/* Appends the value at `at`, which is moved behind it. *out_is_good false: no value that JSON has. `depth` counts the
 * brackets around it. */
MUST_CHECK leat_status python_value_copy(python_text *p, uint32_t depth, bool *out_is_good, leat_error *error);

#endif
