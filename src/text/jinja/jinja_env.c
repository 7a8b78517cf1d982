/* jinja_env.c - the run of a template: its memory, its steps, its failure. */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

/* Bytes of copying that cost one step; depth of any recursion over values or syntax; steps between looks at the clock.
 */
enum { STEP_BYTES = 64, DEPTH_MAX = 1000, POLL_STEPS = 2048, CHUNK_BYTES = 16 * 1024 };

/* What the values of one run may take beside four times the output. */
static const uint64_t memory_base_bytes = 16u << 20;

void jinja_env_init(jinja_env *env, mem *ledger, const char *name, const jinja_limits *limits, leat_error *error)
{
    *env = (jinja_env){.name = name, .limits = limits, .error = error, .line = 1, .next_poll = POLL_STEPS};
    arena_init(&env->values, ledger, MEM_TOKENIZER, CHUNK_BYTES);
}

void jinja_raise(jinja_env *env, jinja_fault fault, const char *format, ...)
{
    char text[LEAT_ERROR_TEXT_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    env->fault = fault;
    if (fault == JINJA_RAISED)
        status_fail(env->error, LEAT_USAGE, 0, __FILE__, __LINE__, "%s", text);
    else
        status_fail(env->error, LEAT_USAGE, 0, __FILE__, __LINE__, "%s: line %u: %s", env->name, env->line, text);
}

leat_status jinja_alloc(jinja_env *env, uint64_t count, uint64_t each_bytes, void *out_pointer)
{
    uint64_t bytes, total;
    uint64_t bytes_max = memory_base_bytes + 4 * env->limits->output_bytes_max;
    if (!size_mul(count, each_bytes, &bytes) || !size_add(env->byte_count, bytes, &total) || total > bytes_max)
        return RAISE(env, LIMIT, "the values need more than %llu bytes", (unsigned long long)bytes_max);
    env->byte_count = total;
    leat_status status = arena_alloc(&env->values, bytes == 0 ? 1 : bytes, 1, 16, out_pointer, env->error);
    if (status != LEAT_OK) env->fault = JINJA_LIMIT;
    return status;
}

leat_status jinja_charge(jinja_env *env, uint64_t steps)
{
    if (!size_add(env->step_count, steps, &env->step_count) || env->step_count > env->limits->step_max)
        return RAISE(env, LIMIT, "more than %llu steps", (unsigned long long)env->limits->step_max);
    if (env->step_count < env->next_poll) return LEAT_OK;
    env->next_poll = env->step_count + POLL_STEPS;
    if (env->limits->is_late != NULL && env->limits->is_late(env->limits->late_user))
        return RAISE(env, LIMIT, "rendering took too long");
    return LEAT_OK;
}

leat_status jinja_charge_bytes(jinja_env *env, uint64_t bytes)
{
    if (bytes > env->limits->output_bytes_max)
        return RAISE(env, LIMIT, "a text of more than %llu bytes", (unsigned long long)env->limits->output_bytes_max);
    return jinja_charge(env, bytes / STEP_BYTES);
}

leat_status jinja_enter(jinja_env *env)
{
    if (env->depth >= DEPTH_MAX) return RAISE(env, RECURSION, "nested more than %d deep", DEPTH_MAX);
    env->depth++;
    return LEAT_OK;
}
