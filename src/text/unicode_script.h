/*
 * unicode_script.h - which script a character belongs to, as the pre-tokenizer UnicodeScripts sees it.
 *
 * Threads: a pure function.
 */
#ifndef TEXT_UNICODE_SCRIPT_H
#define TEXT_UNICODE_SCRIPT_H

#include <stdint.h>

enum { SCRIPT_ANY = 0 }; /* the space, and characters that the table lacks: they join their neighbours */

/* A number for each script. */
uint32_t unicode_script(uint32_t scalar);

#endif
