/* jinja_eval.c - the value of an expression. */
#include "text/jinja/jinja_frame.h"

#include <string.h>

/* ---- names ---- */

leat_status jinja_new_frame(jinja_env *env, jinja_frame *parent, jinja_frame **out)
{
    TRY(JINJA_NEW(env, 1, out));
    (*out)->parent = parent;
    return LEAT_OK;
}

leat_status jinja_set_name(jinja_env *env, jinja_frame *frame, uint32_t name, jinja_value value)
{
    if (frame->by_name != NULL) {
        frame->by_name[name] = value;
        return LEAT_OK;
    }
    for (uint32_t i = 0; i < frame->count; i++) {
        if (frame->slots[i].name != name) continue;
        frame->slots[i].value = value;
        return LEAT_OK;
    }
    if (frame->count == frame->capacity) {
        jinja_slot *slots;
        uint32_t capacity = frame->capacity == 0 ? 4 : 2 * frame->capacity;
        TRY(JINJA_NEW(env, capacity, &slots));
        if (frame->count > 0) memcpy(slots, frame->slots, frame->count * sizeof *slots);
        frame->slots = slots;
        frame->capacity = capacity;
    }
    frame->slots[frame->count++] = (jinja_slot){name, value};
    return LEAT_OK;
}

jinja_value jinja_unset(const jinja_env *env, uint32_t name)
{
    const jinja_name *known = &env->t->names[name];
    return (jinja_value){
        .kind = JV_UNDEFINED, .aux = JINJA_UNDEFINED_NAME, .count = (uint32_t)known->count, .name = known->text};
}

static jinja_value look_up(const jinja_env *env, const jinja_frame *frame, uint32_t name)
{
    for (; frame->by_name == NULL; frame = frame->parent) {
        for (uint32_t i = 0; i < frame->count; i++) {
            if (frame->slots[i].name == name) return frame->slots[i].value;
        }
    }
    if (jinja_is_given(frame->by_name[name])) return frame->by_name[name];
    const jinja_value global = env->t->names[name].global;
    return jinja_is_given(global) ? global : jinja_unset(env, name);
}

/* ---- literals ---- */

static leat_status eval_list(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_list *list;
    TRY(jinja_new_list(env, node->items.count, &list));
    for (const jinja_node *item = node->items.first; item != NULL; item = item->next) {
        jinja_value value;
        TRY(jinja_eval(env, frame, item, &value));
        TRY(jinja_push(env, list, value));
    }
    *out = node->kind == JN_TUPLE ? jinja_of_tuple(list) : jinja_of_list(list);
    return LEAT_OK;
}

static leat_status eval_dict(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_dict *dict;
    TRY(jinja_new_dict(env, &dict));
    for (const jinja_node *item = node->items.first; item != NULL; item = item->next->next) {
        jinja_value key, value;
        TRY(jinja_eval(env, frame, item, &key));
        TRY(jinja_eval(env, frame, item->next, &value));
        TRY(jinja_dict_set(env, dict, key, value));
    }
    *out = jinja_of_dict(dict);
    return LEAT_OK;
}

/* ---- operators ---- */

static leat_status add_strings(jinja_env *env, jinja_value a, jinja_value b, jinja_value *out)
{
    bool is_markup = a.string->is_markup || b.string->is_markup;
    if (!is_markup) return jinja_concat(env, a.string, b.string, out);
    TRY(jinja_escape(env, a, &a));
    TRY(jinja_escape(env, b, &b));
    jinja_builder whole = jinja_build(env);
    TRY(jinja_append(&whole, a.string));
    TRY(jinja_append(&whole, b.string));
    TRY(jinja_finish(&whole, out));
    out->string->is_markup = true;
    return LEAT_OK;
}

static leat_status add_lists(jinja_env *env, jinja_value a, jinja_value b, jinja_value *out)
{
    jinja_list *list;
    uint64_t count = a.list->count + b.list->count;
    TRY(jinja_charge(env, count / 4));
    TRY(jinja_new_list(env, count, &list));
    if (a.list->count > 0) memcpy(list->items, a.list->items, a.list->count * sizeof *list->items);
    if (b.list->count > 0) memcpy(list->items + a.list->count, b.list->items, b.list->count * sizeof *list->items);
    list->count = count;
    *out = a;
    out->list = list;
    return LEAT_OK;
}

static bool is_sequence(jinja_value v) { return v.kind == JV_STRING || v.kind == JV_LIST || v.kind == JV_TUPLE; }

static leat_status repeat(jinja_env *env, jinja_value v, jinja_value times, jinja_value *out)
{
    int64_t count;
    TRY(jinja_to_index(env, times, &count));
    if (count < 0) count = 0;
    if (v.kind == JV_STRING) {
        jinja_builder b = jinja_build(env);
        TRY(jinja_append_fill(&b, v.string, (uint64_t)count));
        TRY(jinja_finish(&b, out));
        out->string->is_markup = v.string->is_markup;
        return LEAT_OK;
    }
    if (v.list->count > 0 && (uint64_t)count > env->limits->step_max / v.list->count)
        return RAISE(env, LIMIT, "a list repeated too often");
    *out = v;
    TRY(jinja_new_list(env, 0, &out->list));
    for (int64_t i = 0; v.list->count > 0 && i < count; i++) {
        for (uint64_t n = 0; n < v.list->count; n++) TRY(jinja_push(env, out->list, v.list->items[n]));
    }
    return LEAT_OK;
}

leat_status jinja_binary(jinja_env *env, char op, jinja_value a, jinja_value b, jinja_value *out)
{
    if (jinja_is_number(a) && jinja_is_number(b)) return jinja_arithmetic(env, op, a, b, out);
    if (op == '%' && a.kind == JV_STRING) return jinja_percent(env, a.string, b, out);
    TRY(jinja_need_defined(env, a));
    TRY(jinja_need_defined(env, b));
    if (op == '+' && a.kind == b.kind && a.kind == JV_STRING) return add_strings(env, a, b, out);
    if (op == '+' && a.kind == b.kind && is_sequence(a)) return add_lists(env, a, b, out);
    if (op == '*' && is_sequence(a) && jinja_is_integral(b)) return repeat(env, a, b, out);
    if (op == '*' && is_sequence(b) && jinja_is_integral(a)) return repeat(env, b, a, out);
    if (op == '+' && is_sequence(a))
        return RAISE(env, TYPE, "can only concatenate %s (not \"%s\") to %s", jinja_type_name(a), jinja_type_name(b),
                     jinja_type_name(a));
    char plain[2] = {op, '\0'};
    return RAISE(env, TYPE, "unsupported operand type(s) for %s: '%s' and '%s'",
                 op == 'f'   ? "//"
                 : op == 'p' ? "**"
                             : plain,
                 jinja_type_name(a), jinja_type_name(b));
}

static leat_status eval_binary(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value a, b;
    TRY(jinja_eval(env, frame, node->a, &a));
    TRY(jinja_eval(env, frame, node->b, &b));
    return jinja_binary(env, node->op, a, b, out);
}

static leat_status eval_sign(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value v;
    TRY(jinja_eval(env, frame, node->a, &v));
    TRY(jinja_need_defined(env, v));
    if (!jinja_is_number(v))
        return RAISE(env, TYPE, "bad operand type for unary %s: '%s'", node->kind == JN_NEGATE ? "-" : "+",
                     jinja_type_name(v));
    if (node->kind == JN_NEGATE) return jinja_negate(env, v, out);
    *out = v.kind == JV_BOOL ? jinja_int(v.truth) : v;
    return LEAT_OK;
}

static leat_status eval_logic(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    bool truth;
    TRY(jinja_eval(env, frame, node->a, out));
    TRY(jinja_truth(env, *out, &truth));
    if (node->kind == JN_NOT) {
        *out = jinja_bool(!truth);
        return LEAT_OK;
    }
    return truth == (node->kind == JN_AND) ? jinja_eval(env, frame, node->b, out) : LEAT_OK;
}

static leat_status eval_concat(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value part, whole = {0};
    bool is_markup = false;
    for (const jinja_node *item = node->items.first; item != NULL; item = item->next) {
        TRY(jinja_eval(env, frame, item, &part));
        if (env->is_autoescape) TRY(jinja_escape(env, part, &part));
        is_markup = is_markup || env->is_autoescape;
        TRY(jinja_to_string(env, part, &part));
        if (jinja_is_given(whole))
            TRY(jinja_concat(env, whole.string, part.string, &whole));
        else
            whole = part;
    }
    *out = whole;
    if (whole.string->is_markup == is_markup) return LEAT_OK;
    TRY(jinja_substring(env, whole.string, 0, whole.string->count, out));
    out->string->is_markup = is_markup;
    return LEAT_OK;
}

static leat_status eval_comparison(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value left, right;
    bool truth = true;
    TRY(jinja_eval(env, frame, node->a, &left));
    for (const jinja_node *item = node->items.first; truth && item != NULL; item = item->next) {
        TRY(jinja_eval(env, frame, item->a, &right));
        TRY(jinja_compare(env, item->sign, left, right, &truth));
        left = right;
    }
    *out = jinja_bool(truth);
    return LEAT_OK;
}

static leat_status eval_choice(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value test;
    bool truth;
    TRY(jinja_eval(env, frame, node->a, &test));
    TRY(jinja_truth(env, test, &truth));
    if (truth) return jinja_eval(env, frame, node->b, out);
    if (node->c != NULL) return jinja_eval(env, frame, node->c, out);
    *out = jinja_undefined("the inline if-expression evaluated to false and no else section was defined.");
    return LEAT_OK;
}

static leat_status eval_item(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value object, key, bounds[3] = {{0}};
    TRY(jinja_eval(env, frame, node->a, &object));
    if (node->b->kind != JN_SLICE) {
        TRY(jinja_eval(env, frame, node->b, &key));
        return jinja_get_item(env, object, key, out);
    }
    const jinja_node *parts[3] = {node->b->a, node->b->b, node->b->c};
    for (int i = 0; i < 3; i++) {
        if (parts[i] != NULL) TRY(jinja_eval(env, frame, parts[i], &bounds[i]));
    }
    return jinja_slice(env, object, bounds, out);
}

/* ---- calls, filters, tests ---- */

static leat_status spread_named(jinja_env *env, jinja_value v, jinja_named *named, uint32_t *count)
{
    uint64_t at = 0;
    const jinja_entry *entry;
    while ((entry = jinja_dict_next(v.dict, &at)) != NULL) {
        if (entry->key.kind != JV_STRING) return RAISE(env, TYPE, "keywords must be strings");
        named[(*count)++] = (jinja_named){entry->key.string, entry->value};
    }
    return LEAT_OK;
}

static leat_status eval_named(jinja_env *env, jinja_frame *frame, const jinja_call_parts *call,
                              const jinja_named *extra, jinja_arguments *out)
{
    jinja_value spread = {0};
    jinja_named *named;
    uint32_t count = 0;
    if (call->named_spread != NULL) {
        TRY(jinja_eval(env, frame, call->named_spread, &spread));
        if (spread.kind != JV_DICT) return RAISE(env, TYPE, "argument after ** must be a mapping");
    }
    uint64_t capacity = call->named.count + 1u + (spread.kind == JV_DICT ? spread.dict->live : 0);
    TRY(JINJA_NEW(env, capacity, &named));
    for (const jinja_node *item = call->named.first; item != NULL; item = item->next) {
        for (uint32_t i = 0; i < count; i++) {
            if (jinja_same_bytes(named[i].name, item->value.string))
                return RAISE(env, SYNTAX, "keyword argument repeated: %.100s", item->sign);
        }
        named[count].name = item->value.string;
        TRY(jinja_eval(env, frame, item->a, &named[count].value));
        count++;
    }
    if (spread.kind == JV_DICT) TRY(spread_named(env, spread, named, &count));
    if (extra != NULL) named[count++] = *extra;
    out->named = named;
    out->named_count = count;
    return LEAT_OK;
}

leat_status jinja_eval_arguments(jinja_env *env, jinja_frame *frame, const jinja_call_parts *call,
                                 const jinja_named *extra, jinja_arguments *out)
{
    static const jinja_call_parts none;
    jinja_list *values;
    *out = (jinja_arguments){0};
    if (call == NULL) call = &none;
    if (call->positional.count > 0 || call->spread != NULL) {
        TRY(jinja_new_list(env, call->positional.count, &values));
        for (const jinja_node *item = call->positional.first; item != NULL; item = item->next) {
            jinja_value value;
            TRY(jinja_eval(env, frame, item, &value));
            TRY(jinja_push(env, values, value));
        }
        if (call->spread != NULL) {
            jinja_value spread;
            jinja_list *more;
            TRY(jinja_eval(env, frame, call->spread, &spread));
            TRY(jinja_to_list(env, spread, &more));
            for (uint64_t i = 0; i < more->count; i++) TRY(jinja_push(env, values, more->items[i]));
        }
        out->values = values->items;
        out->count = (uint32_t)values->count;
    }
    if (call->named.count == 0 && call->named_spread == NULL && extra == NULL) return LEAT_OK;
    return eval_named(env, frame, call, extra, out);
}

static leat_status eval_call(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value callee;
    jinja_arguments args;
    TRY(jinja_eval(env, frame, node->a, &callee));
    TRY(jinja_eval_arguments(env, frame, node->call, NULL, &args));
    return jinja_call(env, callee, &args, out);
}

static leat_status apply_filter(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value input,
                                jinja_value *out)
{
    jinja_arguments args;
    if (node->builtin == NULL) return RAISE(env, RUNTIME, "No filter named '%.100s' found.", node->sign);
    TRY(jinja_eval_arguments(env, frame, node->call, NULL, &args));
    return jinja_run_builtin(env, node->builtin, input, &args, out);
}

leat_status jinja_eval_filters(jinja_env *env, jinja_frame *frame, const jinja_node *filters, jinja_value input,
                               jinja_value *out)
{
    *out = input;
    if (filters == NULL) return LEAT_OK;
    TRY(jinja_enter(env));
    TRY(jinja_eval_filters(env, frame, filters->a, input, out));
    jinja_leave(env);
    return apply_filter(env, frame, filters, *out, out);
}

static leat_status eval_filter(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value input;
    TRY(jinja_eval(env, frame, node->a, &input));
    return apply_filter(env, frame, node, input, out);
}

static leat_status eval_test(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value input, result;
    jinja_arguments args;
    bool truth;
    TRY(jinja_eval(env, frame, node->a, &input));
    if (node->builtin == NULL) return RAISE(env, RUNTIME, "No test named '%.100s' found.", node->sign);
    TRY(jinja_eval_arguments(env, frame, node->call, NULL, &args));
    TRY(jinja_run_builtin(env, node->builtin, input, &args, &result));
    TRY(jinja_truth(env, result, &truth));
    *out = jinja_bool(truth != node->flag);
    return LEAT_OK;
}

static leat_status eval_attribute(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    jinja_value object;
    TRY(jinja_eval(env, frame, node->a, &object));
    return jinja_get_attribute(env, object, node->value.string, out);
}

static leat_status eval_inner(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    switch (node->kind) {
    case JN_LIST:
    case JN_TUPLE: return eval_list(env, frame, node, out);
    case JN_DICT: return eval_dict(env, frame, node, out);
    case JN_NOT:
    case JN_AND:
    case JN_OR: return eval_logic(env, frame, node, out);
    case JN_NEGATE:
    case JN_PLUS: return eval_sign(env, frame, node, out);
    case JN_BINARY: return eval_binary(env, frame, node, out);
    case JN_CONCAT: return eval_concat(env, frame, node, out);
    case JN_COMPARE: return eval_comparison(env, frame, node, out);
    case JN_CHOICE: return eval_choice(env, frame, node, out);
    case JN_ATTRIBUTE: return eval_attribute(env, frame, node, out);
    case JN_ITEM: return eval_item(env, frame, node, out);
    case JN_CALL: return eval_call(env, frame, node, out);
    case JN_FILTER: return eval_filter(env, frame, node, out);
    case JN_TEST: return eval_test(env, frame, node, out);
    default: return RAISE(env, TYPE, "an expression that has no value"); /* a slice among several subscripts */
    }
}

leat_status jinja_eval(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out)
{
    TRY(jinja_charge(env, 1));
    if (node->kind == JN_CONST || node->kind == JN_NAME) {
        *out = node->kind == JN_CONST ? node->value : look_up(env, frame, node->name);
        return LEAT_OK;
    }
    TRY(jinja_enter(env));
    TRY(eval_inner(env, frame, node, out));
    jinja_leave(env);
    return LEAT_OK;
}
