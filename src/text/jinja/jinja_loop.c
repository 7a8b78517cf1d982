/* jinja_loop.c - for loops: one item ahead at most, so that filters and lazy values are asked when they should be. */
#include "text/jinja/jinja_loop.h"

/* The next item that passes the loop's filter. */
static leat_status pull(jinja_env *env, jinja_loop *loop, jinja_value *out, bool *out_has)
{
    const jinja_node *node = loop->node;
    for (;;) {
        jinja_value test;
        bool truth;
        TRY(jinja_next(env, loop->iter, out, out_has));
        if (!*out_has || node->c == NULL || loop->filter_frame == NULL) return LEAT_OK;
        loop->filter_frame->count = 0;
        TRY(jinja_assign(env, loop->filter_frame, node->a, *out));
        TRY(jinja_eval(env, loop->filter_frame, node->c, &test));
        TRY(jinja_truth(env, test, &truth));
        if (truth) return LEAT_OK;
    }
}

static leat_status peek(jinja_env *env, jinja_loop *loop, bool *out_has)
{
    *out_has = true;
    if (jinja_is_given(loop->after)) return LEAT_OK;
    TRY(pull(env, loop, &loop->after, out_has));
    if (!*out_has) loop->after = (jinja_value){0};
    return LEAT_OK;
}

static leat_status advance(jinja_env *env, jinja_loop *loop, bool *out_has)
{
    TRY(peek(env, loop, out_has));
    if (!*out_has) return LEAT_OK;
    loop->index0++;
    loop->before = loop->current;
    loop->current = loop->after;
    loop->after = (jinja_value){0};
    return LEAT_OK;
}

leat_status jinja_loop_length(jinja_env *env, jinja_loop *loop, uint64_t *out)
{
    jinja_list *rest;
    jinja_value item;
    bool has;
    if (loop->node->c == NULL && loop->source.kind != JV_ITER) return jinja_length(env, loop->source, out);
    TRY(jinja_new_list(env, 0, &rest));
    for (;;) {
        TRY(pull(env, loop, &item, &has));
        if (!has) break;
        TRY(jinja_push(env, rest, item));
    }
    *out = rest->count + (uint64_t)(loop->index0 + 1) + jinja_is_given(loop->after);
    loop->filter_frame = NULL; /* what is left has passed it */
    return jinja_iterate(env, jinja_of_list(rest), &loop->iter);
}

/* ---- loop.NAME ---- */

static leat_status run_changed(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,
                               jinja_value *out)
{
    (void)given;
    jinja_list *values;
    bool is_same = false;
    TRY(jinja_new_list(env, raw->count, &values));
    for (uint32_t i = 0; i < raw->count; i++) TRY(jinja_push(env, values, raw->values[i]));
    if (jinja_is_given(self.loop->changed)) TRY(jinja_equal(env, self.loop->changed, jinja_of_tuple(values), &is_same));
    if (!is_same) self.loop->changed = jinja_of_tuple(values);
    *out = jinja_bool(!is_same);
    return LEAT_OK;
}

static leat_status run_cycle(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,
                             jinja_value *out)
{
    (void)given;
    if (raw->count == 0) return RAISE(env, TYPE, "no items for cycling given");
    *out = raw->values[self.loop->index0 % raw->count];
    return LEAT_OK;
}

static leat_status from_end(jinja_env *env, jinja_loop *loop, int64_t offset, jinja_value *out)
{
    uint64_t length;
    TRY(jinja_loop_length(env, loop, &length));
    *out = jinja_int((int64_t)length - loop->index0 - offset);
    return LEAT_OK;
}

static leat_status neighbour(jinja_env *env, jinja_loop *loop, const jinja_string *name, jinja_value *out)
{
    bool has;
    TRY(peek(env, loop, &has));
    if (jinja_string_is(name, "last"))
        *out = jinja_bool(!has);
    else
        *out = has ? loop->after : jinja_undefined("there is no next item");
    return LEAT_OK;
}

leat_status jinja_loop_attribute(jinja_env *env, jinja_loop *loop, const jinja_string *name, jinja_value *out)
{
    static const jinja_builtin changed = {"changed", NULL, 0, run_changed}, cycle = {"cycle", NULL, 0, run_cycle};
    jinja_value self = {.kind = JV_LOOP, .loop = loop};
    if (jinja_string_is(name, "index0")) *out = jinja_int(loop->index0);
    if (jinja_string_is(name, "index")) *out = jinja_int(loop->index0 + 1);
    if (jinja_string_is(name, "first")) *out = jinja_bool(loop->index0 == 0);
    if (jinja_string_is(name, "depth")) *out = jinja_int(loop->depth + 1);
    if (jinja_string_is(name, "depth0")) *out = jinja_int(loop->depth);
    if (jinja_string_is(name, "last") || jinja_string_is(name, "nextitem")) return neighbour(env, loop, name, out);
    if (jinja_string_is(name, "previtem"))
        *out = loop->index0 == 0 ? jinja_undefined("there is no previous item") : loop->before;
    if (jinja_string_is(name, "revindex")) return from_end(env, loop, 0, out);
    if (jinja_string_is(name, "revindex0")) return from_end(env, loop, 1, out);
    if (jinja_string_is(name, "length")) {
        uint64_t length;
        TRY(jinja_loop_length(env, loop, &length));
        *out = jinja_int((int64_t)length);
    }
    if (jinja_string_is(name, "changed")) return jinja_bind(env, &changed, self, out);
    if (jinja_string_is(name, "cycle")) return jinja_bind(env, &cycle, self, out);
    return LEAT_OK;
}

/* ---- running ---- */

static leat_status run_body(jinja_env *env, jinja_loop *loop, bool *out_ran)
{
    jinja_frame *frame;
    jinja_flow flow = JINJA_ON;
    *out_ran = false;
    TRY(jinja_new_frame(env, loop->outer, &frame));
    while (flow != JINJA_BREAK) {
        bool has;
        TRY(advance(env, loop, &has));
        if (!has) break;
        frame->count = 0;
        TRY(jinja_set_name(env, frame, env->t->loop_name, (jinja_value){.kind = JV_LOOP, .loop = loop}));
        TRY(jinja_assign(env, frame, loop->node->a, loop->current));
        flow = JINJA_ON;
        TRY(jinja_exec(env, frame, &loop->node->body, &flow));
        if (flow == JINJA_ON) *out_ran = true; /* Jinja2 notes it at the end of the body */
    }
    return LEAT_OK;
}

static leat_status run_loop(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value source,
                            uint32_t depth, jinja_flow *flow)
{
    jinja_loop *loop;
    bool ran;
    TRY(JINJA_NEW(env, 1, &loop));
    *loop = (jinja_loop){.node = node, .outer = frame, .source = source, .index0 = -1, .depth = depth};
    TRY(jinja_iterate(env, source, &loop->iter));
    if (node->c != NULL) TRY(jinja_new_frame(env, frame, &loop->filter_frame));
    TRY(run_body(env, loop, &ran));
    if (ran || node->other.count == 0) return LEAT_OK;
    jinja_frame *inner;
    TRY(jinja_new_frame(env, frame, &inner));
    return jinja_exec(env, inner, &node->other, flow);
}

leat_status jinja_exec_for(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    jinja_value source;
    TRY(jinja_eval(env, frame, node->b, &source));
    return run_loop(env, frame, node, source, 0, flow);
}

static leat_status run_inner(jinja_env *env, const jinja_loop *loop, jinja_value source, jinja_value *out)
{
    jinja_builder b = jinja_build(env), *outer = env->out;
    jinja_flow flow = JINJA_ON;
    env->out = &b;
    leat_status status = run_loop(env, loop->outer, loop->node, source, loop->depth + 1, &flow);
    env->out = outer;
    TRY(status);
    TRY(jinja_finish(&b, out));
    out->string->is_markup = env->is_autoescape;
    return LEAT_OK;
}

leat_status jinja_call_loop(jinja_env *env, const jinja_loop *loop, const jinja_arguments *args, jinja_value *out)
{
    if (!loop->node->flag)
        return RAISE(env, TYPE, "the loop must have the 'recursive' marker to be called recursively");
    if (args->count != 1 || args->named_count != 0) return RAISE(env, TYPE, "loop() takes what to go through");
    if (env->call_depth >= env->limits->call_depth_max)
        return RAISE(env, RECURSION, "more than %u calls inside each other", env->limits->call_depth_max);
    env->call_depth++;
    TRY(run_inner(env, loop, args->values[0], out));
    env->call_depth--;
    return LEAT_OK;
}
