/* unicode_class.h - the few character classes that the tokenizer's rules are stated in. */
#ifndef TEXT_UNICODE_CLASS_H
#define TEXT_UNICODE_CLASS_H

#include <stdbool.h>
#include <stdint.h>

bool unicode_is_space(uint32_t scalar);        /* White_Space */
bool unicode_is_python_space(uint32_t scalar); /* what templates trim: White_Space and U+001C..U+001F */
bool unicode_is_word(uint32_t scalar);         /* Alphabetic, marks, decimal digits, connectors, the two joiners */
bool unicode_is_mark(uint32_t scalar);         /* Mn, Mc, Me */
bool unicode_is_number(uint32_t scalar);       /* Nd, Nl, No */
bool unicode_is_punctuation(
    uint32_t scalar); /* P*, and every ASCII character that is neither letter, digit, space nor control */

#endif
