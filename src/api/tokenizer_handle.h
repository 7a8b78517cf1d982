/* tokenizer_handle.h - what a leat_tokenizer is, for the files of this room. */
#ifndef API_TOKENIZER_HANDLE_H
#define API_TOKENIZER_HANDLE_H

#include <leat/leat.h>

#include "text/chat_template.h"

struct leat_tokenizer {
    mem *ledger; /* the engine's, or its own */
    bool owns_ledger;
    tokenizer *inner;
    chat_source chat; /* the folder's templates and special tokens, as texts */
    uint32_t bos_id;  /* NO_ID: none */
    bool adds_bos;    /* prompts start with it: the post-processor says so, or the family of the control tokens */
    uint64_t peak_bytes;
};

/* Exactly one BOS where prompts start with it: *out_adds, it is missing; *out_dropped of the first ids are too many. */
void find_bos_change(const leat_tokenizer *t, const token_list *ids, bool *out_adds, uint64_t *out_dropped);
/* What the caller gets is his own to free, so it comes from malloc. `prepend`: `first` stands before the ids. */
MUST_CHECK leat_status give_tokens(const uint32_t *ids, uint64_t count, bool prepend, uint32_t first, leat_tokens *out,
                                   leat_error *error);
MUST_CHECK leat_status give_text(const text_buffer *buffer, leat_text *out, leat_error *error);

#endif
