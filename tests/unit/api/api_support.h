/* api_support.h - what the tests of the public interface share: folders with models, handles that belong together, and
 * the logits of every position to compare with. */
#ifndef UNIT_API_SUPPORT_H
#define UNIT_API_SUPPORT_H

#include "fault_hooks.h"
#include "support/tiny_model.h"
#include "support/unit.h"

#include <leat/leat.h>

#define BROOK LEAT_SOURCE_ROOT "/models/brook"

/* Models that together have every kind of block: windows, routed experts, per-layer inputs, rows read on demand. */
extern const tiny_shape gemma_moe, gemma_inputs, llama_plain, qwen_moe_own_head;
/* With more experts than the least budget holds. */
extern const tiny_shape gemma_many, qwen_many;
/* Experts of two sizes, by layer. */
extern const tiny_shape gemma_mixed;

/* A model, its engine and a session. */
typedef struct opened {
    leat_model *model;
    leat_engine *engine;
    leat_session *session;
} opened;

opened open_all(const char *folder, const leat_options *options);
void close_all(opened *o);
/* The plan's floor for these options. */
uint64_t floor_of(const char *folder, const leat_options *options);

/* Token ids that any vocabulary of these tests has. */
void fill_ids(uint32_t *ids, size_t count, uint32_t vocab, uint64_t seed);
/* (count, vocab) logits, one token at a time with one thread and every weight resident. */
float *reference_logits(const char *folder, const uint32_t *ids, size_t count);
/* The session's logits are those of position length - 1. */
void assert_logits(const leat_session *session, const float *reference, uint32_t vocab, const char *what);

#endif
