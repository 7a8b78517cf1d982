/*
 * regex_known.h - patterns of known families of tokenizers. Their work grows with the text whatever it is, which
 * tokenizer_work_test.c counts; so they are matched without being counted, about twice as fast.
 */
#ifndef TEXT_REGEX_KNOWN_H
#define TEXT_REGEX_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the pre-tokenizer ByteLevel: GPT-2's. */
#define BYTE_LEVEL_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Of Kimi's tokenizer class, which has it in its source. */
#define KIMI_LETTERS(classes) "[" classes "&&[^\\p{Han}]]"
#define KIMI_UPPER            KIMI_LETTERS("\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}")
#define KIMI_LOWER            KIMI_LETTERS("\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}")
#define KIMI_ENDING           "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define KIMI_PATTERN                                                                                                   \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" KIMI_ENDING                                     \
    "|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*" KIMI_ENDING                                                \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

extern const char *const regex_known_patterns[];
extern const size_t regex_known_count;

bool regex_is_known(const char *pattern, uint64_t bytes);

#endif
