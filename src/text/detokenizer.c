/*
 * detokenizer.c - ids back to text, all at once or one by one: what a token is shown as, and which ones are left out.
 * Both ways run the same steps (decode.h).
 */
#include "text/tokenizer_parts.h"

#include <string.h>

struct detokenizer {
    const tokenizer *t;
    bool skip_special;
    decode_flow flow;
};

/* What a token decodes to, before the decoder. */
static const char *shown_text(const tokenizer *t, uint32_t id)
{
    if ((t->vocab.flags[id] & VOCABULARY_SHOWN_OTHERWISE) != 0)
        for (uint32_t i = 0; i < t->added_count; i++)
            if (t->added[i].id == id) return t->added[i].shown;
    return vocabulary_text(&t->vocab, id);
}

leat_status detokenizer_push(detokenizer *d, uint32_t id, text_buffer *out_text, leat_error *error)
{
    const vocabulary *vocab = &d->t->vocab;
    if (!vocabulary_has(vocab, id)) return LEAT_OK;
    /* the library asks whether the shown text is a special token's, so one that is shown otherwise is not left out */
    unsigned kind = vocab->flags[id] & (VOCABULARY_SPECIAL | VOCABULARY_SHOWN_OTHERWISE);
    if (d->skip_special && kind == VOCABULARY_SPECIAL) return LEAT_OK;
    const char *text = shown_text(d->t, id);
    return decode_flow_push(&d->flow, (text_slice){text, strlen(text)}, vocab->flags[id], out_text, error);
}

leat_status detokenizer_flush(detokenizer *d, text_buffer *out_text, leat_error *error)
{
    return decode_flow_flush(&d->flow, out_text, error);
}

static void init(detokenizer *d, const tokenizer *t, bool skip_special, bool whole_runs)
{
    d->t = t;
    d->skip_special = skip_special;
    decode_flow_init(&d->flow, &t->decode, t->ledger, whole_runs);
}

leat_status detokenizer_open(const tokenizer *t, bool skip_special, detokenizer **out_detokenizer, leat_error *error)
{
    detokenizer *d;
    TRY(MEM_NEW(t->ledger, TOKENIZER, 1, &d, error));
    init(d, t, skip_special, false);
    *out_detokenizer = d;
    return LEAT_OK;
}

void detokenizer_close(detokenizer **d)
{
    if (*d == NULL) return;
    decode_flow_reset(&(*d)->flow);
    mem_free((*d)->t->ledger, *d);
    *d = NULL;
}

leat_status tokenizer_decode(const tokenizer *t, const uint32_t *ids, uint64_t count, bool skip_special,
                             text_buffer *out_text, leat_error *error)
{
    detokenizer d;
    leat_status status = LEAT_OK;
    uint64_t start = out_text->count;
    init(&d, t, skip_special, true);
    for (uint64_t i = 0; i < count; i++) TRY_OR(out, detokenizer_push(&d, ids[i], out_text, error));
    TRY_OR(out, detokenizer_flush(&d, out_text, error));
    status = text_buffer_append(out_text, "", 0, error); /* terminated also when nothing came */
out:
    decode_flow_reset(&d.flow);
    if (status != LEAT_OK) out_text->count = start;
    return status;
}

leat_status tokenizer_token_bytes(const tokenizer *t, uint32_t id, text_buffer *out_bytes, leat_error *error)
{
    if (!vocabulary_has(&t->vocab, id)) return text_buffer_append(out_bytes, "", 0, error);
    const char *text = shown_text(t, id);
    return decode_alone(&t->decode, t->ledger, (text_slice){text, strlen(text)}, t->vocab.flags[id], out_bytes, error);
}
