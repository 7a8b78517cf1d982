/* jinja_exec.c - statements: output, branches, assignments, macros and blocks. */
#include "text/jinja/jinja_loop.h"

#include <string.h>

/* ---- output ---- */

static leat_status print(jinja_env *env, jinja_value v)
{
    if (env->is_autoescape) TRY(jinja_escape(env, v, &v));
    return jinja_append_str(env->out, v);
}

leat_status jinja_capture(jinja_env *env, jinja_frame *frame, const jinja_nodes *body, jinja_flow *flow,
                          jinja_value *out)
{
    jinja_builder b = jinja_build(env), *outer = env->out;
    env->out = &b;
    leat_status status = jinja_exec(env, frame, body, flow);
    env->out = outer;
    TRY(status);
    TRY(jinja_finish(&b, out));
    out->string->is_markup = env->is_autoescape;
    return LEAT_OK;
}

/* ---- assignment ---- */

static leat_status look_up_namespace(jinja_env *env, jinja_frame *frame, const jinja_node *target, jinja_value *out)
{
    jinja_node name = {.kind = JN_NAME, .name = target->name};
    TRY(jinja_eval(env, frame, &name, out));
    if (out->kind != JV_NAMESPACE) return RAISE(env, RUNTIME, "cannot assign attribute on non-namespace object");
    return LEAT_OK;
}

leat_status jinja_check_member_name(jinja_env *env, const jinja_string *name)
{
    if (name->count == 0 || name->bytes[0] != '_') return LEAT_OK;
    return RAISE(env, SECURITY, "a namespace cannot store '%.*s': its name begins with an underscore",
                 (int)(name->count > 100 ? 100 : name->count), name->bytes);
}

static leat_status assign_tuple(jinja_env *env, jinja_frame *frame, const jinja_node *target, jinja_value value)
{
    jinja_list *items;
    if (value.kind != JV_UNDEFINED && (jinja_is_number(value) || value.kind == JV_NONE))
        return RAISE(env, TYPE, "cannot unpack non-iterable %s object", jinja_type_name(value));
    TRY(jinja_to_list(env, value, &items));
    if (items->count != target->items.count)
        return RAISE(env, VALUE, "%s values to unpack (expected %u)",
                     items->count > target->items.count ? "too many" : "not enough", target->items.count);
    uint64_t i = 0;
    for (const jinja_node *item = target->items.first; item != NULL; item = item->next)
        TRY(jinja_assign(env, frame, item, items->items[i++]));
    return LEAT_OK;
}

leat_status jinja_assign(jinja_env *env, jinja_frame *frame, const jinja_node *target, jinja_value value)
{
    jinja_value space;
    if (target->kind == JN_NAME) return jinja_set_name(env, frame, target->name, value);
    if (target->kind == JN_TUPLE) {
        TRY(jinja_enter(env));
        TRY(assign_tuple(env, frame, target, value));
        jinja_leave(env);
        return LEAT_OK;
    }
    TRY(look_up_namespace(env, frame, target, &space));
    TRY(jinja_check_member_name(env, target->value.string));
    return jinja_dict_set(env, space.dict, target->value, value);
}

static leat_status exec_set(jinja_env *env, jinja_frame *frame, const jinja_node *node)
{
    jinja_value value;
    TRY(jinja_eval(env, frame, node->b, &value));
    return jinja_assign(env, frame, node->a, value);
}

static leat_status exec_set_block(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    jinja_value value;
    jinja_frame *inner;
    TRY(jinja_new_frame(env, frame, &inner));
    TRY(jinja_capture(env, inner, &node->body, flow, &value));
    if (*flow != JINJA_ON) return LEAT_OK;
    TRY(jinja_eval_filters(env, inner, node->b, value, &value));
    return jinja_assign(env, frame, node->a, value);
}

/* ---- macros ---- */

static leat_status new_macro(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    *out = (jinja_value){.kind = JV_MACRO};
    TRY(JINJA_NEW(env, 1, &out->macro));
    *out->macro = (jinja_macro){node, frame};
    return LEAT_OK;
}

/* The named argument `name`, marked as used. */
static jinja_value take_named(const jinja_arguments *args, bool *used, const jinja_string *name)
{
    for (uint32_t i = 0; i < args->named_count; i++) {
        if (used[i] || !jinja_same_bytes(args->named[i].name, name)) continue;
        used[i] = true;
        return args->named[i].value;
    }
    return (jinja_value){0};
}

static leat_status set_parameters(jinja_env *env, jinja_frame *frame, const jinja_node *node,
                                  const jinja_arguments *args, bool *used)
{
    uint32_t place = 0;
    for (const jinja_node *p = node->items.first; p != NULL; p = p->next, place++) {
        jinja_value value = place < args->count ? args->values[place] : take_named(args, used, p->value.string);
        if (!jinja_is_given(value) && p->a != NULL) TRY(jinja_eval(env, frame, p->a, &value));
        if (!jinja_is_given(value)) value = jinja_undefined("a parameter was not provided");
        TRY(jinja_set_name(env, frame, p->name, value));
    }
    return LEAT_OK;
}

static leat_status set_rest(jinja_env *env, jinja_frame *frame, const jinja_node *node, const jinja_arguments *args,
                            const bool *used)
{
    jinja_dict *named;
    jinja_list *rest;
    uint32_t first = node->items.count;
    TRY(jinja_new_dict(env, &named));
    TRY(jinja_new_list(env, 0, &rest));
    for (uint32_t i = 0; i < args->named_count; i++) {
        if (used[i]) continue;
        if (!node->reads_kwargs)
            return RAISE(env, TYPE, "macro '%.100s' takes no keyword argument '%.*s'",
                         node->sign == NULL ? "caller" : node->sign,
                         (int)(args->named[i].name->count > 100 ? 100 : args->named[i].name->count),
                         args->named[i].name->bytes);
        TRY(jinja_dict_set(env, named, jinja_of_string(args->named[i].name), args->named[i].value));
    }
    if (args->count > first && !node->reads_varargs)
        return RAISE(env, TYPE, "macro '%.100s' takes not more than %u argument(s)",
                     node->sign == NULL ? "caller" : node->sign, first);
    for (uint32_t i = first; i < args->count; i++) TRY(jinja_push(env, rest, args->values[i]));
    if (node->reads_kwargs) TRY(jinja_set_name(env, frame, env->t->kwargs_name, jinja_of_dict(named)));
    if (node->reads_varargs) TRY(jinja_set_name(env, frame, env->t->varargs_name, jinja_of_tuple(rest)));
    return LEAT_OK;
}

static bool has_parameter(const jinja_node *node, uint32_t name)
{
    for (const jinja_node *p = node->items.first; p != NULL; p = p->next) {
        if (p->name == name) return true;
    }
    return false;
}

static leat_status run_macro(jinja_env *env, const jinja_macro *macro, const jinja_arguments *args, jinja_value *out)
{
    const jinja_node *node = macro->node;
    jinja_frame *frame;
    jinja_flow flow = JINJA_ON;
    bool *used;
    TRY(jinja_new_frame(env, macro->frame, &frame));
    TRY(JINJA_NEW(env, args->named_count, &used));
    if (node->reads_caller && !has_parameter(node, env->t->caller_name)) {
        jinja_value name;
        TRY(jinja_literal(env, "caller", &name));
        jinja_value caller = take_named(args, used, name.string);
        if (!jinja_is_given(caller)) caller = jinja_undefined("No caller defined");
        TRY(jinja_set_name(env, frame, env->t->caller_name, caller));
    }
    TRY(set_parameters(env, frame, node, args, used));
    TRY(set_rest(env, frame, node, args, used));
    return jinja_capture(env, frame, &node->body, &flow, out);
}

leat_status jinja_call_macro(jinja_env *env, const jinja_macro *macro, const jinja_arguments *args, jinja_value *out)
{
    if (env->call_depth >= env->limits->call_depth_max)
        return RAISE(env, RECURSION, "more than %u calls inside each other", env->limits->call_depth_max);
    env->call_depth++;
    TRY(run_macro(env, macro, args, out));
    env->call_depth--;
    return LEAT_OK;
}

leat_status jinja_macro_attribute(jinja_env *env, const jinja_macro *macro, const jinja_string *name, jinja_value *out)
{
    const jinja_node *node = macro->node;
    if (jinja_string_is(name, "name")) *out = node->value;
    if (jinja_string_is(name, "catch_kwargs")) *out = jinja_bool(node->reads_kwargs);
    if (jinja_string_is(name, "catch_varargs")) *out = jinja_bool(node->reads_varargs);
    if (jinja_string_is(name, "caller")) *out = jinja_bool(node->reads_caller);
    if (!jinja_string_is(name, "arguments")) return LEAT_OK;
    jinja_list *names;
    TRY(jinja_new_list(env, node->items.count, &names));
    for (const jinja_node *p = node->items.first; p != NULL; p = p->next) TRY(jinja_push(env, names, p->value));
    *out = jinja_of_tuple(names);
    return LEAT_OK;
}

static leat_status exec_macro(jinja_env *env, jinja_frame *frame, const jinja_node *node)
{
    jinja_value macro;
    TRY(new_macro(env, frame, node, &macro));
    return jinja_set_name(env, frame, node->name, macro);
}

static leat_status exec_call_block(jinja_env *env, jinja_frame *frame, const jinja_node *node)
{
    jinja_value callee, result;
    jinja_named caller;
    jinja_arguments args;
    TRY(new_macro(env, frame, node->b, &caller.value));
    caller.name = node->b->value.string;
    TRY(jinja_eval(env, frame, node->a->a, &callee));
    TRY(jinja_eval_arguments(env, frame, node->a->call, &caller, &args));
    TRY(jinja_call(env, callee, &args, &result));
    return print(env, result);
}

/* ---- blocks ---- */

static leat_status exec_filter_block(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    jinja_value value;
    jinja_frame *inner;
    TRY(jinja_new_frame(env, frame, &inner));
    TRY(jinja_capture(env, inner, &node->body, flow, &value));
    if (*flow != JINJA_ON) return LEAT_OK;
    TRY(jinja_eval_filters(env, inner, node->b, value, &value));
    if (value.kind != JV_STRING) /* what was written is joined as it is */
        return RAISE(env, TYPE, "the filters of a block gave %s, expected str", jinja_type_name(value));
    return print(env, value);
}

static leat_status exec_with(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    jinja_frame *inner;
    TRY(jinja_new_frame(env, frame, &inner));
    for (const jinja_node *target = node->items.first; target != NULL; target = target->next->next) {
        jinja_value value;
        TRY(jinja_eval(env, frame, target->next, &value));
        TRY(jinja_assign(env, inner, target, value));
    }
    return jinja_exec(env, inner, &node->body, flow);
}

static leat_status exec_in_frame(jinja_env *env, jinja_frame *parent, const jinja_node *node, jinja_flow *flow)
{
    jinja_frame *inner;
    TRY(jinja_new_frame(env, parent, &inner));
    return jinja_exec(env, inner, &node->body, flow);
}

static leat_status exec_autoescape(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    jinja_value on;
    bool was_on = env->is_autoescape;
    TRY(jinja_eval(env, frame, node->a, &on));
    TRY(jinja_truth(env, on, &env->is_autoescape));
    TRY(exec_in_frame(env, frame, node, flow));
    env->is_autoescape = was_on;
    return LEAT_OK;
}

/* Follows the elifs without going deeper. */
static leat_status exec_if(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    for (;;) {
        jinja_value test;
        bool truth;
        TRY(jinja_eval(env, frame, node->a, &test));
        TRY(jinja_truth(env, test, &truth));
        if (truth) return jinja_exec(env, frame, &node->body, flow);
        if (!node->flag) return jinja_exec(env, frame, &node->other, flow);
        node = node->other.first;
    }
}

static leat_status exec_print(jinja_env *env, jinja_frame *frame, const jinja_node *node)
{
    jinja_value value;
    for (const jinja_node *item = node->items.first; item != NULL; item = item->next) {
        TRY(jinja_eval(env, frame, item, &value));
        TRY(print(env, value));
    }
    if (node->a == NULL) return LEAT_OK;
    TRY(jinja_eval(env, frame, node->a, &value));
    return print(env, value);
}

static leat_status exec_node(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow)
{
    switch (node->kind) {
    case JN_TEXT: return jinja_append(env->out, node->value.string);
    case JN_PRINT: return exec_print(env, frame, node);
    case JN_IF: return exec_if(env, frame, node, flow);
    case JN_FOR: return jinja_exec_for(env, frame, node, flow);
    case JN_SET: return exec_set(env, frame, node);
    case JN_SET_BLOCK: return exec_set_block(env, frame, node, flow);
    case JN_MACRO: return exec_macro(env, frame, node);
    case JN_CALL_BLOCK: return exec_call_block(env, frame, node);
    case JN_FILTER_BLOCK: return exec_filter_block(env, frame, node, flow);
    case JN_WITH: return exec_with(env, frame, node, flow);
    case JN_BLOCK: return exec_in_frame(env, node->flag ? frame : env->root, node, flow);
    case JN_GENERATION: return exec_in_frame(env, frame, node, flow);
    case JN_AUTOESCAPE: return exec_autoescape(env, frame, node, flow);
    case JN_HIDE: return jinja_set_name(env, frame, node->name, jinja_unset(env, node->name));
    case JN_BREAK: *flow = JINJA_BREAK; return LEAT_OK;
    case JN_CONTINUE: *flow = JINJA_CONTINUE; return LEAT_OK;
    default: return RAISE(env, TYPE, "{%% %s %%}: a chat template stands alone, there is nothing to load", node->sign);
    }
}

leat_status jinja_exec(jinja_env *env, jinja_frame *frame, const jinja_nodes *body, jinja_flow *flow)
{
    TRY(jinja_enter(env));
    for (const jinja_node *node = body->first; node != NULL && *flow == JINJA_ON; node = node->next) {
        TRY(jinja_charge(env, 1));
        env->line = node->line;
        TRY(exec_node(env, frame, node, flow));
    }
    jinja_leave(env);
    return LEAT_OK;
}

static leat_status set_variables(jinja_env *env, const jinja_variable *variables, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t name = 0; name < env->t->name_count; name++) { /* others are never asked for */
            if (env->t->names[name].count != strlen(variables[i].name) ||
                memcmp(env->t->names[name].text, variables[i].name, env->t->names[name].count) != 0)
                continue;
            TRY(jinja_of_json(env, variables[i].name, variables[i].json, variables[i].json_bytes, variables[i].is_data,
                              true, &env->root->by_name[name]));
        }
    }
    return LEAT_OK;
}

leat_status jinja_execute(jinja_env *env, const jinja_variable *variables, uint32_t count)
{
    jinja_flow flow = JINJA_ON;
    TRY(jinja_new_frame(env, NULL, &env->root));
    TRY(JINJA_NEW(env, env->t->name_count, &env->root->by_name));
    TRY(set_variables(env, variables, count));
    return jinja_exec(env, env->root, &env->t->body, &flow);
}
