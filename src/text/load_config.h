/*
 * load_config.h - what a tokenizer_config.json says to a tokenizer that has no tokenizer.json. Private to this room.
 *
 * Threads: belongs to one call.
 */
#ifndef TEXT_LOAD_CONFIG_H
#define TEXT_LOAD_CONFIG_H

#include "text/tokenizer_parts.h"

typedef struct tokenizer_config {
    text_slice tokenizer_class, bos_token, eos_token; /* bytes NULL: not said; in the tokenizer's storage */
    bool says_bos, adds_bos, says_eos, adds_eos;
    bool is_legacy; /* the default */
} tokenizer_config;

/* Also adds the tokens of "added_tokens_decoder" to t->added; they are searched in the text as it is. Nothing is said
 * where there is no such file. */
MUST_CHECK leat_status tokenizer_config_load(tokenizer *t, const tokenizer_files *files, tokenizer_config *out_config,
                                             leat_error *error);
/* Puts ids around a text: the tokens that the file names, or else `bos` and `eos`. A token that is not in the
 * vocabulary is an error where the file names it, and nothing otherwise. */
MUST_CHECK leat_status tokenizer_config_frame(tokenizer *t, const tokenizer_config *config, const char *bos,
                                              const char *eos, leat_error *error);

#endif
