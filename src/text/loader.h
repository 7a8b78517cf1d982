/*
 * loader.h - what the readers of a tokenizer.json share. Private to this room.
 *
 * A reader takes the tokens of one part of the document and fills in the tokenizer; loader.c has what all of them need,
 * tokenizer_load.c calls them. What a file asks for and we do not know is refused by its name.
 *
 * Threads: a loader belongs to one call.
 */
#ifndef TEXT_LOADER_H
#define TEXT_LOADER_H

#include "base/json.h"
#include "text/tokenizer_parts.h"

typedef struct loader {
    tokenizer *t;
    json *parser;
    leat_error *error;
    uint32_t vocab_count; /* 0 = not known */

    uint64_t added_capacity;
    bool has_decoder;

    /* the model, whose type may come after its parts */
    bool has_model, has_type, has_vocab, has_merges, merges_are_pending, vocab_is_list, has_characters_max;
    model_kind type;
    text_slice unk_token, continuing_prefix, end_of_word_suffix; /* bytes NULL: none */
    uint64_t score_capacity;
} loader;

typedef enum section { SECTION_NORMALIZER, SECTION_PRE_TOKENIZER, SECTION_DECODER, SECTION_COUNT } section;

#define FAIL_AT(l, token, ...) json_fail_at((l)->parser, (token)->offset, (l)->error, __VA_ARGS__)

MUST_CHECK leat_status loader_next(loader *l, json_token *out_token);
MUST_CHECK leat_status loader_expect(loader *l, const json_token *token, json_kind kind, const char *what,
                                     const char *wanted);
/* Puts the name of the file before the message of a part that does not know it. */
MUST_CHECK leat_status loader_named(loader *l, leat_status status);
vocabulary_quote loader_quote(const json_token *token);
MUST_CHECK leat_status loader_copy_text(loader *l, const json_token *token, text_slice *out_text);
MUST_CHECK leat_status loader_read_bool(loader *l, const char *what, bool *out_value);
/* Runs `pass` over a document. */
MUST_CHECK leat_status loader_run_pass(loader *l, const char *text, uint64_t bytes, const json_limits *limits,
                                       leat_status (*pass)(loader *l));
/* A token id, checked against the limits. `text` is of the token, for the message. */
MUST_CHECK leat_status loader_read_id(loader *l, const json_token *token, vocabulary_quote text, uint32_t *out_id);

/* load_components.c: a normalizer, a pre-tokenizer or a decoder, or null. */
MUST_CHECK leat_status loader_read_section(loader *l, section where);
/* load_added_tokens.c: the list of tokenizer.json; the "added_tokens_decoder" object of tokenizer_config.json. */
MUST_CHECK leat_status loader_read_added_tokens(loader *l);
MUST_CHECK leat_status loader_read_added_decoder(loader *l);
/* load_model.c: the model; only its merges, in a second pass; what is joined once all has been read. */
MUST_CHECK leat_status loader_read_model(loader *l);
MUST_CHECK leat_status loader_read_merges_alone(loader *l);
MUST_CHECK leat_status loader_finish_model(loader *l);
/* load_post_processor.c: of which the first token has been read. */
MUST_CHECK leat_status loader_read_post_processor(loader *l, const json_token *first);

#endif
