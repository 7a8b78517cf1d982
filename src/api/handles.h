/*
 * handles.h - what the handles of leat.h are, for the files of this room. A handle that only its own file looks into
 * (leat_stream, leat_session, leat_sampler, leat_forecaster, leat_chat, leat_answer, leat_replay) is defined there.
 * Their files hold checks of arguments and copies between public and internal structs; no behaviour of their own.
 *
 * Who owns what:
 *
 *   leat_model      its ledger, the open checkpoint, and all texts and tables that it hands out. Engines and
 *                   forecasters borrow it: it is closed after them.
 *   leat_tokenizer  what it was parsed into. Its ledger is its own when the program opened it, else the engine's, which
 *                   then closes it. Streams and chats borrow it.
 *   leat_engine     the ledger with the budget, the engine, its tokenizer, and the lease. Its session borrows it.
 *   leat_session    the timeline, in the engine's ledger.
 *   leat_sampler,
 *   leat_forecaster a small ledger each; nothing of an engine's budget.
 *
 * Threads: a model and a tokenizer are constant once they are open. An engine belongs, with its session, to one thread
 * at a time; leat.h says which calls may come from others.
 */
#ifndef API_HANDLES_H
#define API_HANDLES_H

#include <leat/leat.h>

#include "exec/checkpoint.h"
#include "exec/sampler.h"
#include "kernel/kernel.h"
#include "model/model_desc.h"
#include "os/lease.h"
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

struct leat_model {
    mem *ledger;
    checkpoint *source;
    arena memory;
    model_desc desc;
    leat_model_info info;
    uint64_t tokenizer_file_bytes;
    uint64_t template_bytes;
    sampler_options sampling; /* defaults, and what generation_config.json says */
    leat_weight_info *weights;
    uint32_t weight_count;
};

struct leat_engine {
    const leat_model *model;
    mem *ledger;
    struct engine *inner;
    leat_tokenizer *tokenizer; /* NULL when the folder has none */
    leat_plan plan;
    uint64_t load_ns;
    const char *profile_folder; /* NULL: what was learned is dropped */
    bool has_session;
    lease lease; /* of memory and disk, among this user's processes */
};

/* leat.c */
isa internal_isa(leat_isa level);

/* tokenizer_handle.c. `vocab_count` as in tokenizer_open. */
MUST_CHECK leat_status tokenizer_handle_open(const checkpoint *folder, mem *ledger, uint32_t vocab_count,
                                             leat_tokenizer **out, leat_error *error);
/* Exactly one BOS where prompts start with it: *out_adds, it is missing; *out_dropped of the first ids are too many. */
void find_bos_change(const leat_tokenizer *t, const token_list *ids, bool *out_adds, uint64_t *out_dropped);

/* sampler_handle.c: the defaults, and what generation_config.json says (NULL: there is none). */
MUST_CHECK leat_status sampling_read(const hf_config *g, sampler_options *out, leat_error *error);

#endif
