/* option_value.h - text to numbers, strictly: the whole text or nothing, no surprises by locale. */
#ifndef CLI_OPTION_VALUE_H
#define CLI_OPTION_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only. */
bool value_read_u64(const char *text, uint64_t *out_value);
/* A finite decimal number, with sign, fraction and exponent if any. */
bool value_read_number(const char *text, double *out_value);
/* "on", "true", "yes", "enabled", "1" and their opposites. */
bool value_read_flag(const char *text, bool *out_value);
/* Bytes: a number, with K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (powers of 1000) behind it.
 */
bool value_read_size(const char *text, uint64_t *out_bytes);
/* Whole seconds: a number, with s, m or h behind it if any; no more than a uint32_t holds. */
bool value_read_seconds(const char *text, uint32_t *out_seconds);
/* "60%" -> 0.6; above 0, at most 100. */
bool value_read_percent(const char *text, double *out_fraction);
/* The place of `text` among the words of "a|b|c"; false when it is not there. */
bool value_read_choice(const char *words, const char *text, uint32_t *out_idx);

/* How many single-character edits (a swap of neighbours is one) turn one word into the other; limit + 1 when more than
 * `limit`. */
uint32_t edit_distance(const char *a, const char *b, uint32_t limit);

#endif
