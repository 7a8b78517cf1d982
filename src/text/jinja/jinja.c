/* jinja.c - opening, rendering and closing of templates. */
#include "text/jinja/jinja.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/jinja/jinja_frame.h"

#include <string.h>

const jinja_limits jinja_limits_default = {.source_bytes_max = 256 << 10,
                                           .step_max = 5000000,
                                           .output_bytes_max = 64 << 20,
                                           .parse_depth_max = 100,
                                           .call_depth_max = 64};

const char *jinja_fault_label(jinja_fault fault)
{
    static const char *const labels[] = {[JINJA_NO_FAULT] = "none",     [JINJA_RAISED] = "raised",
                                         [JINJA_SYNTAX] = "syntax",     [JINJA_UNDEFINED] = "undefined",
                                         [JINJA_TYPE] = "type",         [JINJA_VALUE] = "value",
                                         [JINJA_SECURITY] = "security", [JINJA_ZERO_DIVISION] = "zero_division",
                                         [JINJA_OVERFLOW] = "overflow", [JINJA_RECURSION] = "recursion",
                                         [JINJA_RUNTIME] = "runtime",   [JINJA_LIMIT] = "limit"};
    return labels[fault];
}

/* ---- opening ---- */

/* Line ends become \n, and one at the end is dropped. */
static leat_status normalize(jinja_env *env, const char *source, uint64_t bytes, char **out, uint64_t *out_bytes)
{
    uint64_t count = 0;
    TRY(jinja_alloc(env, bytes, 1, out));
    for (uint64_t i = 0; i < bytes; i++) {
        bool is_return = source[i] == '\r';
        (*out)[count++] = is_return ? '\n' : source[i];
        if (is_return && i + 1 < bytes && source[i + 1] == '\n') i++;
    }
    if (count > 0 && (*out)[count - 1] == '\n') count--;
    *out_bytes = count;
    return LEAT_OK;
}

static leat_status compile(jinja_env *env, jinja_template *t, const char *source, uint64_t bytes)
{
    char *text;
    if (bytes > t->limits.source_bytes_max)
        return RAISE(env, LIMIT, "%llu bytes, more than the limit of %llu", (unsigned long long)bytes,
                     (unsigned long long)t->limits.source_bytes_max);
    if (utf8_valid_bytes(source, bytes) != bytes) return RAISE(env, SYNTAX, "the template is not valid UTF-8");
    jinja_env scratch;
    jinja_env_init(&scratch, t->ledger, env->name, env->limits, env->error);
    leat_status status = normalize(&scratch, source, bytes, &text, &bytes);
    if (status == LEAT_OK)
        status = jinja_parse(env, t, text, bytes);
    else
        env->fault = scratch.fault;
    arena_reset(&scratch.values);
    return status;
}

leat_status jinja_open(mem *ledger, const char *name, const char *source, uint64_t bytes, const jinja_limits *limits,
                       jinja_template **out, jinja_fault *out_fault, leat_error *error)
{
    jinja_template *t;
    leat_error own_error;
    if (error == NULL) error = &own_error;
    if (out_fault != NULL) *out_fault = JINJA_LIMIT;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &t, error));
    t->ledger = ledger;
    t->limits = limits != NULL ? *limits : jinja_limits_default;
    jinja_limits own = t->limits;
    own.is_late = NULL; /* compiling is bounded by the source */
    own.step_max = UINT64_MAX;
    jinja_env env;
    jinja_env_init(&env, ledger, name, &own, error);
    env.t = t;
    leat_status status = arena_copy_text(&env.values, name, strlen(name), &t->name, error);
    if (status != LEAT_OK)
        env.fault = JINJA_LIMIT;
    else
        status = compile(&env, t, source, bytes);
    t->nodes = env.values;
    if (out_fault != NULL) *out_fault = env.fault;
    if (status != LEAT_OK) {
        jinja_close(&t);
        if (status != LEAT_USAGE) return status;
        error->status = LEAT_MODEL;
        return LEAT_MODEL;
    }
    *out = t;
    return LEAT_OK;
}

void jinja_close(jinja_template **t)
{
    if (*t == NULL) return;
    arena_reset(&(*t)->nodes);
    mem_free((*t)->ledger, *t);
    *t = NULL;
}

bool jinja_mentions(const jinja_template *t, const char *text)
{
    uint64_t count = strlen(text);
    for (uint64_t i = 0; i < t->constants->count; i++) {
        const jinja_string *s = t->constants->items[i].string;
        if (s->count >= count && (count == 0 || memmem(s->bytes, s->count, text, count) != NULL)) return true;
    }
    return false;
}

/* ---- output ---- */

void jinja_output_init(jinja_output *output, mem *ledger)
{
    *output = (jinja_output){.ledger = ledger};
    text_buffer_init(&output->text, ledger);
}

void jinja_output_reset(jinja_output *output)
{
    text_buffer_reset(&output->text);
    mem_free(output->ledger, output->segments);
    *output = (jinja_output){.ledger = output->ledger, .text = output->text};
}

static leat_status add_segment(jinja_output *out, uint64_t begin, uint64_t end, bool is_data, leat_error *error)
{
    if (out->segment_count == out->segment_capacity) {
        uint64_t capacity = max_u64(16, 2 * out->segment_capacity);
        void *block = out->segments;
        TRY(mem_resize(out->ledger, MEM_TOKENIZER, &block, capacity, sizeof *out->segments, "segments", error));
        out->segments = block;
        out->segment_capacity = capacity;
    }
    out->segments[out->segment_count++] = (jinja_segment){begin, end, is_data};
    return LEAT_OK;
}

static leat_status fill_output(const jinja_builder *b, jinja_output *out, leat_error *error)
{
    TRY(text_buffer_append(&out->text, b->bytes, b->count, error));
    for (uint64_t begin = 0, end; begin < b->count; begin = end) {
        bool is_data = b->mask != NULL ? b->mask[begin] != 0 : b->is_data;
        const uint8_t *change = b->mask != NULL ? memchr(b->mask + begin, !is_data, b->count - begin) : NULL;
        end = change != NULL ? (uint64_t)(change - b->mask) : b->count;
        TRY(add_segment(out, begin, end, is_data, error));
    }
    return LEAT_OK;
}

/* What raise_exception said, in full: an error record's text is short and has no control bytes. */
static leat_status fill_message(jinja_env *env, jinja_output *out, leat_status status)
{
    jinja_output_reset(out);
    if (env->message == NULL || env->fault != JINJA_RAISED) return status;
    const leat_status filled = text_buffer_append(&out->text, env->message->bytes, env->message->count, env->error);
    if (filled == LEAT_OK) return status;
    env->fault = JINJA_LIMIT;
    return filled;
}

leat_status jinja_render(const jinja_template *t, const jinja_variable *variables, uint32_t count,
                         int64_t now_seconds_local, jinja_output *out, jinja_fault *out_fault, leat_error *error)
{
    jinja_env env;
    jinja_output_reset(out);
    jinja_env_init(&env, out->ledger, t->name, &t->limits, error);
    jinja_builder written = jinja_build(&env);
    env.t = t;
    env.now = now_seconds_local;
    env.out = &written;
    leat_status status = jinja_execute(&env, variables, count);
    if (status == LEAT_OK) {
        status = fill_output(&written, out, error);
        if (status != LEAT_OK) env.fault = JINJA_LIMIT;
    }
    if (status != LEAT_OK) status = fill_message(&env, out, status);
    arena_reset(&env.values);
    if (out_fault != NULL) *out_fault = status == LEAT_OK ? JINJA_NO_FAULT : env.fault;
    return status;
}
