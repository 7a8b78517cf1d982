/*
 * generate.h - the loop behind run and chat: prompt in, tokens out, one at a time, until something ends the answer.
 */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "answer_reader.h"
#include "continuation.h"

typedef struct generate_request {
    leat_session *session;
    const leat_tokenizer *tokenizer; /* NULL: no text, ids only */
    const leat_model_info *info;
    leat_sampler *sampler;
    const cli_options *options;
    uint32_t ctx;
    phase_clock *phases;
    const answer_source *source; /* how the answer is read; NULL: all of it is text */
    output *out;                 /* receives the answer as it comes; NULL: it is only collected */
} generate_request;

/* What came out. Zeroed with the ledgers of its lists set, then filled; generation_reset frees it. */
typedef struct generation {
    u32_list tokens;  /* generated, the end token included */
    u32_list step_us; /* time of each decode step */
    answer_parts parts;
    stop_reason reason;
    uint64_t prompt_count, reused_count, prefill_ns, first_token_ns, decode_ns;
} generation;

void generation_init(generation *g, mem *ledger);
void generation_reset(generation *g);
/* "stop", "stop_string", "length", "context", "cancelled" */
const char *stop_reason_label(stop_reason reason);

/* `timeline` holds the prompt and grows by what is generated. A cancelled answer is LEAT_OK with STOP_CANCELLED. */
MUST_CHECK leat_status generate(const generate_request *request, u32_list *timeline, generation *g, leat_error *error);

/* The sampler that the model asks for and the user changes. *seed: the one in use. */
leat_sampler_options generate_sampler_options(const leat_model *model, const cli_options *options);

#endif
