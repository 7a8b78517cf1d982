#include "audit_writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING_BYTES_MAX = 64 * 1024, WEIGHT_DIGEST_BYTES = 4 };

static leat_status fail(const audit_writer *w, const char *what, int os_errno, leat_error *error)
{
    return FAIL_OS(error, IO, os_errno, "--audit: %s: %s: %s", w->path, what, strerror(os_errno));
}

leat_status audit_writer_open(audit_writer *w, mem *ledger, const char *path, leat_error *error)
{
    *w = (audit_writer){.path = path, .ledger = ledger, .pending = {.ledger = ledger}};
    w->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (w->fd < 0) return fail(w, "cannot be created", errno, error);
    w->is_open = true;
    return audit_chain_open(&w->chain, error);
}

/* ---- lines ---- */

static leat_status write_pending(audit_writer *w, leat_error *error)
{
    const char *bytes = strbuf_text(&w->pending);
    size_t left = w->pending.count;
    while (left > 0) {
        ssize_t count = write(w->fd, bytes, left);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail(w, "write failed", errno, error);
        bytes += count;
        left -= (size_t)count;
    }
    strbuf_cut(&w->pending, 0);
    return LEAT_OK;
}

/* Short pieces only. */
static leat_status print(audit_writer *w, leat_error *error, const char *format, ...) PRINTF_LIKE(3, 4);
static leat_status print(audit_writer *w, leat_error *error, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert(length >= 0 && (size_t)length < sizeof text);
    return strbuf_append(&w->pending, text, (size_t)length, error);
}

static leat_status end_line(audit_writer *w, leat_error *error)
{
    char chain[DIGEST_HEX_BYTES];
    TRY(audit_chain_add(&w->chain, w->pending.bytes + w->line_begin, w->pending.count - w->line_begin, error));
    audit_hex(w->chain.last, DIGEST_BYTES, chain);
    TRY(print(w, error, AUDIT_CHAIN_KEY "%s\"}\n", chain));
    if (w->pending.count >= PENDING_BYTES_MAX) TRY(write_pending(w, error));
    w->line_begin = w->pending.count;
    return LEAT_OK;
}

/* A float's nine digits are its value. A seed that draws nothing says nothing. */
static leat_status print_sampling(audit_writer *w, const leat_sampler_options *s, leat_error *error)
{
    if (!s) return print(w, error, "null");
    TRY(print(w, error,
              "{\"temperature\":%.9g,\"top_k\":%" PRIu32 ",\"top_p\":%.9g,\"min_p\":%.9g,\"repeat_penalty\":%.9g,"
              "\"presence_penalty\":%.9g,\"frequency_penalty\":%.9g,\"repeat_last\":%" PRIu32 ",\"seed\":",
              (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, (double)s->repeat_penalty,
              (double)s->presence_penalty, (double)s->frequency_penalty, s->repeat_last));
    return s->temperature > 0 ? print(w, error, "%" PRIu64 "}", s->seed) : print(w, error, "null}");
}

static size_t route_at(const audit_writer *w, size_t position, uint32_t layer_idx)
{
    return (position % w->row_max * w->layer_count + layer_idx) * w->used_count;
}

static leat_status print_digest(audit_writer *w, const byte_span *pieces, uint32_t count, size_t shown_bytes,
                                leat_error *error)
{
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX_BYTES];
    TRY(audit_digest(&w->chain, pieces, count, digest, error));
    audit_hex(digest, shown_bytes, hex);
    return print(w, error, "\"%s\"", hex);
}

static leat_status print_routes(audit_writer *w, size_t position, leat_error *error)
{
    const size_t count = (size_t)w->layer_count * w->used_count;
    const byte_span all[] = {{w->experts + route_at(w, position, 0), count * sizeof(uint32_t)},
                             {w->weights + route_at(w, position, 0), count * sizeof(float)}};
    TRY(print(w, error, ",\"routes\":"));
    TRY(print_digest(w, all, 2, DIGEST_BYTES, error));
    TRY(print(w, error, ",\"experts\":["));
    for (uint32_t layer = 0; layer < w->layer_count; layer++) {
        const uint32_t *experts = w->experts + route_at(w, position, layer);
        for (uint32_t i = 0; i < w->used_count; i++)
            TRY(print(w, error, "%s%" PRIu32, i > 0 ? "," : layer > 0 ? ",[" : "[", experts[i]));
        TRY(print(w, error, "]"));
    }
    TRY(print(w, error, "],\"weights\":["));
    for (uint32_t layer = 0; layer < w->layer_count; layer++) {
        const byte_span one = {w->weights + route_at(w, position, layer), w->used_count * sizeof(float)};
        if (layer > 0) TRY(print(w, error, ","));
        TRY(print_digest(w, &one, 1, WEIGHT_DIGEST_BYTES, error));
    }
    return print(w, error, "]");
}

/* ---- what the session tells ---- */

static void take_route(void *user, uint32_t layer_idx, size_t position, const uint32_t *experts, const float *weights,
                       uint32_t count)
{
    const audit_writer *w = user;
    assert(layer_idx < w->layer_count && count == w->used_count);
    memcpy(w->experts + route_at(w, position, layer_idx), experts, count * sizeof *experts);
    memcpy(w->weights + route_at(w, position, layer_idx), weights, count * sizeof *weights);
}

static leat_status print_token(audit_writer *w, size_t position, uint32_t id, const float *logits, leat_error *error)
{
    TRY(print(w, error, "{\"position\":%zu,\"token\":%" PRIu32, position, id));
    if (w->layer_count > 0) TRY(print_routes(w, position, error));
    TRY(print(w, error, ",\"logits\":"));
    if (logits) {
        const byte_span all = {logits, w->vocab_size * sizeof *logits};
        TRY(print_digest(w, &all, 1, DIGEST_BYTES, error));
    } else {
        TRY(print(w, error, "null"));
    }
    w->token_count++;
    return end_line(w, error);
}

static leat_status take_token(void *user, size_t position, uint32_t id, const float *logits, leat_error *error)
{
    audit_writer *w = user;
    const phase before = phase_clock_switch(w->phases, PHASE_OTHER);
    leat_status status = print_token(w, position, id, logits, error);
    phase_clock_switch(w->phases, before);
    return status;
}

leat_status audit_writer_attach(audit_writer *w, const engine_setup *setup, const leat_sampler_options *sampling,
                                phase_clock *phases, leat_error *error)
{
    struct stat facts;
    if (!w->is_open) return LEAT_OK;
    w->phases = phases;
    w->row_max = setup->plan->prefill_chunk;
    w->layer_count = setup->info->moe_layer_count;
    w->used_count = setup->info->expert_used_count;
    w->vocab_size = setup->info->vocab_size;
    const uint64_t count = (uint64_t)w->row_max * w->layer_count * w->used_count;
    TRY(MEM_NEW(w->ledger, META, count, &w->experts, error));
    TRY(MEM_NEW(w->ledger, META, count, &w->weights, error));
    if (fstat(w->fd, &facts) == 0 && S_ISREG(facts.st_mode) && ftruncate(w->fd, 0) != 0)
        return fail(w, "cannot be emptied", errno, error);
    TRY(print(w, error, "{\"schema\":\"leat.audit/1\",\"model\":\"%s\",\"sampling\":", setup->info->fingerprint));
    TRY(print_sampling(w, sampling, error));
    TRY(end_line(w, error));
    leat_session_set_route_sink(setup->session, w->layer_count > 0 ? take_route : NULL, w);
    leat_session_set_token_sink(setup->session, take_token, w);
    return LEAT_OK;
}

leat_status audit_writer_finish(audit_writer *w, const char *reason, leat_error *error)
{
    if (!w->is_open) return LEAT_OK;
    TRY(print(w, error, "{\"end\":\"%s\",\"tokens\":%" PRIu64, reason, w->token_count));
    TRY(end_line(w, error));
    return write_pending(w, error);
}

void audit_writer_close(audit_writer *w)
{
    if (!w->is_open) return;
    leat_status ignored = write_pending(w, NULL); /* of a run that failed: what there is; the error was another's */
    (void)ignored;
    close(w->fd);
    audit_chain_close(&w->chain);
    strbuf_reset(&w->pending);
    mem_free(w->ledger, w->experts);
    mem_free(w->ledger, w->weights);
    *w = (audit_writer){0};
}
