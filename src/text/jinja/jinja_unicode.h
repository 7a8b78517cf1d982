/* jinja_unicode.h - what Python knows of characters: printable or not, letters, digits, upper and lower case. */
#ifndef TEXT_JINJA_UNICODE_H
#define TEXT_JINJA_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool jinja_is_printable(uint32_t scalar);
bool jinja_is_letter(uint32_t scalar);
bool jinja_is_decimal(uint32_t scalar);
bool jinja_is_digit(uint32_t scalar); /* decimal, or a superscript and the like */
bool jinja_is_numeric(uint32_t scalar);
bool jinja_is_upper(uint32_t scalar);
bool jinja_is_lower(uint32_t scalar);
bool jinja_is_title(uint32_t scalar);
bool jinja_is_name_start(uint32_t scalar);
bool jinja_is_name_part(uint32_t scalar);

typedef enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE, JINJA_FOLD } jinja_case;
/* Writes the one to three characters that `scalar` becomes and returns how many. */
int jinja_change_case(uint32_t scalar, jinja_case to, uint32_t out[4]);

/* The character of a Unicode name ("BULLET"), 0 when it is none of the few that are known. */
uint32_t jinja_named_character(const char *name, uint64_t bytes);

#endif
