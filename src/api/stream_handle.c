/*
 * stream_handle.c - leat_stream: text out of ids that come one by one.
 */
#include "api/handles.h"

struct leat_stream {
    mem *ledger;
    detokenizer *inner;
    text_buffer text;
};

leat_status leat_stream_open(const leat_tokenizer *t, bool skip_special, leat_stream **out_stream, leat_error *error)
{
    leat_status status = LEAT_OK;
    leat_stream *s;

    TRY(mem_alloc(t->ledger, MEM_TOKENIZER, 1, sizeof *s, 0, "stream", (void **)&s, error));
    s->ledger = t->ledger;
    text_buffer_init(&s->text, t->ledger);
    TRY_OR(fail, detokenizer_open(t->inner, skip_special, &s->inner, error));
    *out_stream = s;
    return LEAT_OK;
fail:
    leat_stream_close(&s);
    return status;
}

void leat_stream_close(leat_stream **stream)
{
    leat_stream *s = *stream;

    if (!s) return;
    detokenizer_close(&s->inner);
    text_buffer_reset(&s->text);
    mem_free(s->ledger, s);
    *stream = NULL;
}

static leat_status give_stream_text(leat_stream *s, leat_status status, const char **out_text, size_t *out_bytes)
{
    if (status != LEAT_OK) return status;
    *out_text = s->text.count ? s->text.bytes : "";
    *out_bytes = s->text.count;
    return LEAT_OK;
}

leat_status leat_stream_push(leat_stream *s, uint32_t id, const char **out_text, size_t *out_bytes, leat_error *error)
{
    s->text.count = 0;
    return give_stream_text(s, detokenizer_push(s->inner, id, &s->text, error), out_text, out_bytes);
}

leat_status leat_stream_flush(leat_stream *s, const char **out_text, size_t *out_bytes, leat_error *error)
{
    s->text.count = 0;
    return give_stream_text(s, detokenizer_flush(s->inner, &s->text, error), out_text, out_bytes);
}
