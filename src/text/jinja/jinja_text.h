/* jinja_text.h - operations on strings that filters and methods share. Every byte keeps its origin. */
#ifndef TEXT_JINJA_TEXT_H
#define TEXT_JINJA_TEXT_H

#include "text/jinja/jinja_unicode.h"
#include "text/jinja/jinja_value.h"

enum { JINJA_LEFT = 1, JINJA_RIGHT = 2 };
/* chars NULL: white space. */
MUST_CHECK leat_status jinja_strip(jinja_env *env, jinja_string *s, const jinja_string *chars, unsigned sides,
                                   jinja_value *out);
/* count < 0: all. */
MUST_CHECK leat_status jinja_replace(jinja_env *env, jinja_string *s, const jinja_string *from, const jinja_string *to,
                                     int64_t count, jinja_value *out);
typedef enum jinja_casing {
    JINJA_ALL_UPPER,
    JINJA_ALL_LOWER,
    JINJA_CAPITAL,
    JINJA_WORDS,
    JINJA_SWAP,
    JINJA_FOLDED
} jinja_casing;
MUST_CHECK leat_status jinja_recase(jinja_env *env, jinja_string *s, jinja_casing casing, jinja_value *out);
MUST_CHECK leat_status jinja_split_lines(jinja_env *env, jinja_string *s, bool keeps_ends, jinja_list **out);
/* The offset of `part` at or behind `from`, -1 when it is not there. */
int64_t jinja_find_bytes(const jinja_string *s, const jinja_string *part, uint64_t from);
MUST_CHECK leat_status jinja_justify(jinja_env *env, jinja_string *s, int64_t width, const jinja_string *fill,
                                     char align, jinja_value *out);
/* Joins what v gives; is_strict: every item must be a text, as str.join wants it. */
MUST_CHECK leat_status jinja_join(jinja_env *env, const jinja_string *between, jinja_value v, bool is_strict,
                                  jinja_value *out);

#endif
