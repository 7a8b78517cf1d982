/*
 * jinja_parse_expression.c - expressions, from the loosest to the tightest: inline if, or, and, not, comparisons,
 * + -, ~, * / // %, ** (from the left), unary - and +, then subscripts, calls, filters and tests.
 */
#include "text/jinja/jinja_parser.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

static leat_status parse_or(jinja_parser *p, jinja_node **out);
static leat_status parse_unary(jinja_parser *p, bool with_filters, jinja_node **out);
static leat_status parse_primary(jinja_parser *p, bool takes_members, jinja_node **out);
static leat_status parse_postfix(jinja_parser *p, jinja_node *node, jinja_node **out);

static leat_status new_unary(jinja_parser *p, jinja_node_kind kind, jinja_node *a, jinja_node **out)
{
    TRY(jinja_new_node(p, kind, out));
    (*out)->a = a;
    return LEAT_OK;
}

static leat_status new_binary(jinja_parser *p, jinja_node_kind kind, jinja_node *a, jinja_node *b, jinja_node **out)
{
    TRY(new_unary(p, kind, a, out));
    (*out)->b = b;
    return LEAT_OK;
}

/* ---- primaries ---- */

static leat_status parse_string(jinja_parser *p, jinja_node **out)
{
    uint64_t total = 0, count = 0;
    const jinja_token *first = p->tokens;
    for (; p->tokens->kind == JT_STRING; p->tokens++) total += p->tokens->count;
    char *joined;
    TRY(jinja_alloc(p->env, total, 1, &joined));
    for (const jinja_token *at = first; at < p->tokens; at++) {
        memcpy(joined + count, at->text, at->count);
        count += at->count;
    }
    TRY(jinja_new_node(p, JN_CONST, out));
    return jinja_new_constant(p, joined, total, &(*out)->value);
}

static leat_status parse_number(jinja_parser *p, jinja_node **out)
{
    const jinja_token *token = p->tokens++;
    char text[64], mark = token->count > 1 ? (char)(token->text[1] | 0x20) : '\0';
    TRY(jinja_new_node(p, JN_CONST, out));
    if (token->kind == JT_FLOAT) {
        if (token->count >= sizeof text) return jinja_syntax_fails(p, "a shorter number");
        memcpy(text, token->text, token->count);
        text[token->count] = '\0';
        (*out)->value = jinja_float(strtod(text, NULL));
        return LEAT_OK;
    }
    uint32_t base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10, skipped = base == 10 ? 0 : 2;
    return jinja_int_of_digits(p->env, token->text + skipped, token->count - skipped, base, &(*out)->value);
}

static leat_status parse_list(jinja_parser *p, jinja_node **out)
{
    jinja_node *item, *list;
    TRY(jinja_new_node(p, JN_LIST, &list));
    p->tokens++;
    while (!jinja_at_sign(p, "]")) {
        if (list->items.count > 0) TRY(jinja_need_sign(p, ","));
        if (jinja_at_sign(p, "]")) break;
        TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&list->items, item);
    }
    *out = list;
    return jinja_need_sign(p, "]");
}

static leat_status parse_dict(jinja_parser *p, jinja_node **out)
{
    jinja_node *item, *dict;
    TRY(jinja_new_node(p, JN_DICT, &dict));
    p->tokens++;
    while (!jinja_at_sign(p, "}")) {
        if (dict->items.count > 0) TRY(jinja_need_sign(p, ","));
        if (jinja_at_sign(p, "}")) break;
        TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&dict->items, item);
        TRY(jinja_need_sign(p, ":"));
        TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&dict->items, item);
    }
    *out = dict;
    return jinja_need_sign(p, "}");
}

static bool constant_word(const jinja_token *token, jinja_value *out)
{
    static const struct {
        const char *word;
        jinja_value value;
    } words[] = {{"true", {.kind = JV_BOOL, .truth = true}},
                 {"True", {.kind = JV_BOOL, .truth = true}},
                 {"false", {.kind = JV_BOOL, .truth = false}},
                 {"False", {.kind = JV_BOOL, .truth = false}},
                 {"none", {.kind = JV_NONE}},
                 {"None", {.kind = JV_NONE}}};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (!jinja_token_is(token, JT_NAME, words[i].word)) continue;
        *out = words[i].value;
        return true;
    }
    return false;
}

static leat_status parse_name(jinja_parser *p, bool takes_members, jinja_node **out)
{
    jinja_value constant;
    const char *text;
    if (constant_word(p->tokens, &constant)) {
        p->tokens++;
        TRY(jinja_new_node(p, JN_CONST, out));
        (*out)->value = constant;
        return LEAT_OK;
    }
    TRY(jinja_new_node(p, JN_NAME, out));
    TRY(jinja_need_name(p, &text, &(*out)->name));
    p->varargs_count += (*out)->name == p->t->varargs_name;
    p->kwargs_count += (*out)->name == p->t->kwargs_name;
    p->caller_count += (*out)->name == p->t->caller_name;
    if (!takes_members || !jinja_at_sign(p, ".")) return LEAT_OK;
    p->tokens++;
    (*out)->kind = JN_MEMBER;
    uint32_t name;
    TRY(jinja_need_name(p, &text, &name));
    return jinja_new_string(p->env, text, strlen(text), false, &(*out)->value);
}

static leat_status parse_primary(jinja_parser *p, bool takes_members, jinja_node **out)
{
    switch (p->tokens->kind) {
    case JT_NAME: return parse_name(p, takes_members, out);
    case JT_STRING: return parse_string(p, out);
    case JT_INTEGER:
    case JT_FLOAT: return parse_number(p, out);
    default: break;
    }
    if (jinja_at_sign(p, "[")) return parse_list(p, out);
    if (jinja_at_sign(p, "{")) return parse_dict(p, out);
    if (!jinja_take_sign(p, "(")) return jinja_syntax_fails(p, "an expression");
    TRY(jinja_parse_enter(p));
    TRY(jinja_parse_tuple(p, &(jinja_tuple_style){.has_brackets = true}, out));
    jinja_parse_leave(p);
    return jinja_need_sign(p, ")");
}

/* ---- subscripts, calls, filters, tests ---- */

/* An index, or a slice with up to three bounds. */
static leat_status parse_subscribed(jinja_parser *p, jinja_node **out)
{
    jinja_node *bounds[3] = {NULL, NULL, NULL};
    if (!jinja_at_sign(p, ":")) {
        TRY(jinja_parse_expression(p, &bounds[0]));
        *out = bounds[0];
        if (!jinja_at_sign(p, ":")) return LEAT_OK;
    }
    p->tokens++;
    for (int i = 1; i < 3; i++) {
        if (i == 2 && !jinja_take_sign(p, ":")) break;
        if (!jinja_at_sign(p, ":") && !jinja_at_sign(p, "]") && !jinja_at_sign(p, ","))
            TRY(jinja_parse_expression(p, &bounds[i]));
    }
    TRY(jinja_new_node(p, JN_SLICE, out));
    (*out)->a = bounds[0];
    (*out)->b = bounds[1];
    (*out)->c = bounds[2];
    return LEAT_OK;
}

static leat_status parse_brackets(jinja_parser *p, jinja_node *object, jinja_node **out)
{
    jinja_node *index, *tuple;
    TRY(jinja_new_node(p, JN_TUPLE, &tuple));
    while (!jinja_at_sign(p, "]")) {
        if (tuple->items.count > 0) TRY(jinja_need_sign(p, ","));
        TRY(parse_subscribed(p, &index));
        if (index->kind == JN_SLICE && (tuple->items.count > 0 || jinja_at_sign(p, ",")))
            return jinja_syntax_fails(p, "one slice");
        jinja_add_node(&tuple->items, index);
    }
    p->tokens++;
    return new_binary(p, JN_ITEM, object, tuple->items.count == 1 ? tuple->items.first : tuple, out);
}

static leat_status parse_dot(jinja_parser *p, jinja_node *object, jinja_node **out)
{
    jinja_node *index;
    if (p->tokens->kind == JT_INTEGER) {
        TRY(parse_number(p, &index));
        return new_binary(p, JN_ITEM, object, index, out);
    }
    const char *text;
    uint32_t name;
    TRY(jinja_need_name(p, &text, &name));
    TRY(new_unary(p, JN_ATTRIBUTE, object, out));
    return jinja_new_string(p->env, text, strlen(text), false, &(*out)->value);
}

static leat_status parse_argument(jinja_parser *p, jinja_call_parts *call)
{
    jinja_node *node;
    if (jinja_at_sign(p, "*") || jinja_at_sign(p, "**")) {
        bool is_named = jinja_at_sign(p, "**");
        if (call->named_spread != NULL || (!is_named && call->spread != NULL))
            return jinja_syntax_fails(p, "one spread argument");
        p->tokens++;
        return jinja_parse_expression(p, is_named ? &call->named_spread : &call->spread);
    }
    if (p->tokens->kind == JT_NAME && jinja_token_is(p->tokens + 1, JT_SIGN, "=")) {
        if (call->named_spread != NULL) return jinja_syntax_fails(p, "no argument behind **");
        TRY(jinja_new_node(p, JN_CONST, &node));
        TRY(jinja_need_name(p, &node->sign, &node->name));
        p->tokens++;
        TRY(jinja_parse_expression(p, &node->a));
        TRY(jinja_new_string(p->env, node->sign, strlen(node->sign), false, &node->value));
        jinja_add_node(&call->named, node);
        return LEAT_OK;
    }
    if (call->spread != NULL || call->named_spread != NULL || call->named.count > 0)
        return jinja_syntax_fails(p, "named arguments behind named arguments");
    TRY(jinja_parse_expression(p, &node));
    jinja_add_node(&call->positional, node);
    return LEAT_OK;
}

static leat_status parse_arguments(jinja_parser *p, jinja_call_parts **out)
{
    TRY(jinja_need_sign(p, "("));
    TRY(JINJA_NEW(p->env, 1, out));
    for (bool is_first = true; !jinja_at_sign(p, ")"); is_first = false) {
        if (!is_first) TRY(jinja_need_sign(p, ","));
        if (jinja_at_sign(p, ")")) break;
        TRY(parse_argument(p, *out));
    }
    return jinja_need_sign(p, ")");
}

static leat_status parse_call(jinja_parser *p, jinja_node *callee, jinja_node **out)
{
    TRY(new_unary(p, JN_CALL, callee, out));
    return parse_arguments(p, &(*out)->call);
}

static leat_status parse_postfix(jinja_parser *p, jinja_node *node, jinja_node **out)
{
    for (;;) {
        if (jinja_take_sign(p, "."))
            TRY(parse_dot(p, node, &node));
        else if (jinja_take_sign(p, "["))
            TRY(parse_brackets(p, node, &node));
        else if (jinja_at_sign(p, "("))
            TRY(parse_call(p, node, &node));
        else
            break;
    }
    *out = node;
    return LEAT_OK;
}

/* The name of a filter or test, which may have dots. */
static leat_status parse_dotted(jinja_parser *p, const char **out)
{
    uint32_t name;
    const char *part;
    TRY(jinja_need_name(p, out, &name));
    while (jinja_take_sign(p, ".")) {
        TRY(jinja_need_name(p, &part, &name));
        char *joined;
        uint64_t count = strlen(*out), part_count = strlen(part);
        TRY(jinja_alloc(p->env, count + part_count + 2, 1, &joined));
        memcpy(joined, *out, count);
        joined[count] = '.';
        memcpy(joined + count + 1, part, part_count + 1);
        *out = joined;
    }
    return LEAT_OK;
}

static leat_status check_known(jinja_parser *p, const jinja_node *node, const char *what)
{
    if (node->builtin != NULL || p->is_soft) return LEAT_OK;
    p->env->line = node->line;
    return RAISE(p->env, SYNTAX, "No %s named '%.100s'.", what, node->sign);
}

leat_status jinja_parse_filters(jinja_parser *p, jinja_node *input, bool is_inline, jinja_node **out)
{
    jinja_node *node = input;
    while (is_inline || jinja_at_sign(p, "|")) {
        if (!is_inline) p->tokens++;
        is_inline = false;
        TRY(new_unary(p, JN_FILTER, node, &node));
        TRY(parse_dotted(p, &node->sign));
        node->builtin = jinja_find_filter(node->sign, strlen(node->sign));
        TRY(check_known(p, node, "filter"));
        if (jinja_at_sign(p, "(")) TRY(parse_arguments(p, &node->call));
    }
    *out = node;
    return LEAT_OK;
}

static bool at_test_argument(const jinja_parser *p)
{
    if (jinja_at_word(p, "else") || jinja_at_word(p, "or") || jinja_at_word(p, "and")) return false;
    uint8_t kind = p->tokens->kind;
    return kind == JT_NAME || kind == JT_STRING || kind == JT_INTEGER || kind == JT_FLOAT || jinja_at_sign(p, "[") ||
           jinja_at_sign(p, "{");
}

static leat_status parse_test(jinja_parser *p, jinja_node *input, jinja_node **out)
{
    jinja_node *node;
    TRY(new_unary(p, JN_TEST, input, &node));
    node->flag = jinja_take_word(p, "not");
    TRY(parse_dotted(p, &node->sign));
    node->builtin = jinja_find_test(node->sign, strlen(node->sign));
    TRY(check_known(p, node, "test"));
    if (jinja_at_sign(p, "("))
        TRY(parse_arguments(p, &node->call));
    else if (at_test_argument(p)) {
        jinja_node *argument;
        if (jinja_at_word(p, "is")) return jinja_syntax_fails(p, "no second test");
        TRY(JINJA_NEW(p->env, 1, &node->call));
        TRY(parse_primary(p, false, &argument));
        TRY(parse_postfix(p, argument, &argument));
        jinja_add_node(&node->call->positional, argument);
    }
    *out = node;
    return LEAT_OK;
}

static leat_status parse_filter_expression(jinja_parser *p, jinja_node *node, jinja_node **out)
{
    for (;;) {
        if (jinja_at_sign(p, "|"))
            TRY(jinja_parse_filters(p, node, false, &node));
        else if (jinja_take_word(p, "is"))
            TRY(parse_test(p, node, &node));
        else if (jinja_at_sign(p, "("))
            TRY(parse_call(p, node, &node));
        else
            break;
    }
    *out = node;
    return LEAT_OK;
}

/* ---- operators ---- */

static leat_status parse_unary(jinja_parser *p, bool with_filters, jinja_node **out)
{
    jinja_node *node;
    bool is_minus = jinja_at_sign(p, "-");
    TRY(jinja_parse_enter(p));
    if (is_minus || jinja_at_sign(p, "+")) {
        p->tokens++;
        TRY(parse_unary(p, false, &node));
        TRY(new_unary(p, is_minus ? JN_NEGATE : JN_PLUS, node, &node));
    } else
        TRY(parse_primary(p, false, &node));
    TRY(parse_postfix(p, node, &node));
    if (with_filters) TRY(parse_filter_expression(p, node, &node));
    jinja_parse_leave(p);
    *out = node;
    return LEAT_OK;
}

/* The arithmetic levels, loosest first; the one between them is ~. */
static const struct {
    const char *signs[4];
    char ops[4];
} levels[] = {{{"+", "-"}, "+-"}, {{"~"}, "~"}, {{"*", "/", "//", "%"}, {'*', '/', 'f', '%'}}, {{"**"}, "p"}};

static char level_op(const jinja_parser *p, size_t level)
{
    for (size_t i = 0; i < 4 && levels[level].signs[i] != NULL; i++) {
        if (jinja_at_sign(p, levels[level].signs[i])) return levels[level].ops[i];
    }
    return '\0';
}

static leat_status parse_level(jinja_parser *p, size_t level, jinja_node **out)
{
    if (level == ARRAY_COUNT(levels)) return parse_unary(p, true, out);
    jinja_node *left, *right, *concat = NULL;
    char op;
    TRY(parse_level(p, level + 1, &left));
    while ((op = level_op(p, level)) != '\0') {
        p->tokens++;
        TRY(parse_level(p, level + 1, &right));
        if (op == '~') {
            if (concat == NULL) {
                TRY(jinja_new_node(p, JN_CONCAT, &concat));
                jinja_add_node(&concat->items, left);
            }
            jinja_add_node(&concat->items, right);
            left = concat;
            continue;
        }
        TRY(new_binary(p, JN_BINARY, left, right, &left));
        left->op = op;
    }
    *out = left;
    return LEAT_OK;
}

/* A comparison's sign at the current token, NULL when there is none; takes it. */
static const char *take_comparison(jinja_parser *p)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    for (size_t i = 0; i < ARRAY_COUNT(signs); i++) {
        if (jinja_take_sign(p, signs[i])) return signs[i];
    }
    if (jinja_take_word(p, "in")) return "in";
    if (!jinja_at_word(p, "not") || !jinja_token_is(p->tokens + 1, JT_NAME, "in")) return NULL;
    p->tokens += 2;
    return "not in";
}

static leat_status parse_comparison(jinja_parser *p, jinja_node **out)
{
    jinja_node *left, *right, *whole = NULL, *operand;
    const char *sign;
    TRY(parse_level(p, 0, &left));
    while ((sign = take_comparison(p)) != NULL) {
        if (whole == NULL) TRY(new_unary(p, JN_COMPARE, left, &whole));
        TRY(parse_level(p, 0, &right));
        TRY(new_unary(p, JN_PLUS, right, &operand)); /* only carries the sign */
        operand->sign = sign;
        jinja_add_node(&whole->items, operand);
    }
    *out = whole != NULL ? whole : left;
    return LEAT_OK;
}

static leat_status parse_not(jinja_parser *p, jinja_node **out)
{
    jinja_node *node;
    if (!jinja_take_word(p, "not")) return parse_comparison(p, out);
    TRY(jinja_parse_enter(p));
    TRY(parse_not(p, &node));
    jinja_parse_leave(p);
    return new_unary(p, JN_NOT, node, out);
}

static leat_status parse_and(jinja_parser *p, jinja_node **out)
{
    jinja_node *left, *right;
    TRY(parse_not(p, &left));
    while (jinja_take_word(p, "and")) {
        TRY(parse_not(p, &right));
        TRY(new_binary(p, JN_AND, left, right, &left));
    }
    *out = left;
    return LEAT_OK;
}

static leat_status parse_or(jinja_parser *p, jinja_node **out)
{
    jinja_node *left, *right;
    TRY(parse_and(p, &left));
    while (jinja_take_word(p, "or")) {
        TRY(parse_and(p, &right));
        TRY(new_binary(p, JN_OR, left, right, &left));
    }
    *out = left;
    return LEAT_OK;
}

/* What stands in a choice is compiled softly, also what was read before its "if" was seen. */
static bool is_choice_ahead(const jinja_parser *p)
{
    uint32_t depth = 0;
    for (const jinja_token *at = p->tokens; at->kind != JT_END; at++) {
        if (at->kind == JT_BLOCK_END || at->kind == JT_PRINT_END) return false;
        if (at->kind == JT_SIGN && strchr("([{", at->text[0]) != NULL) depth++;
        if (at->kind == JT_SIGN && strchr(")]}", at->text[0]) != NULL && depth-- == 0) return false;
        if (depth > 0) continue;
        if (jinja_token_is(at, JT_SIGN, ",") || jinja_token_is(at, JT_SIGN, ":")) return false;
        if (jinja_token_is(at, JT_NAME, "if")) return true;
    }
    return false;
}

static leat_status parse_choice(jinja_parser *p, jinja_node **out)
{
    jinja_node *node, *choice;
    TRY(parse_or(p, &node));
    while (jinja_take_word(p, "if")) {
        TRY(jinja_new_node(p, JN_CHOICE, &choice));
        choice->b = node;
        TRY(parse_or(p, &choice->a));
        if (jinja_take_word(p, "else")) TRY(jinja_parse_expression(p, &choice->c));
        node = choice;
    }
    *out = node;
    return LEAT_OK;
}

leat_status jinja_parse_expression(jinja_parser *p, jinja_node **out)
{
    bool was_soft = p->is_soft;
    TRY(jinja_parse_enter(p));
    if (!p->is_soft) p->is_soft = is_choice_ahead(p);
    TRY(parse_choice(p, out));
    p->is_soft = was_soft;
    jinja_parse_leave(p);
    return LEAT_OK;
}

/* ---- tuples and targets ---- */

static bool at_tuple_end(const jinja_parser *p, const jinja_tuple_style *style)
{
    return p->tokens->kind == JT_PRINT_END || p->tokens->kind == JT_BLOCK_END || jinja_at_sign(p, ")") ||
           (style->end_word != NULL && jinja_at_word(p, style->end_word));
}

leat_status jinja_parse_tuple(jinja_parser *p, const jinja_tuple_style *style, jinja_node **out)
{
    jinja_node *tuple, *item;
    bool is_tuple = false;
    TRY(jinja_new_node(p, JN_TUPLE, &tuple));
    for (;;) {
        if (tuple->items.count > 0) TRY(jinja_need_sign(p, ","));
        if (at_tuple_end(p, style)) break;
        if (style->is_simple)
            TRY(parse_primary(p, style->takes_members, &item));
        else if (style->has_no_choice)
            TRY(parse_or(p, &item));
        else
            TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&tuple->items, item);
        if (!jinja_at_sign(p, ",")) break;
        is_tuple = true;
    }
    if (!is_tuple && tuple->items.count == 0 && !style->has_brackets) return jinja_syntax_fails(p, "an expression");
    *out = is_tuple || tuple->items.count == 0 ? tuple : tuple->items.first;
    return LEAT_OK;
}

static bool can_be_target(const jinja_node *node)
{
    if (node->kind == JN_NAME || node->kind == JN_MEMBER) return true;
    if (node->kind != JN_TUPLE) return false;
    for (const jinja_node *item = node->items.first; item != NULL; item = item->next) {
        if (!can_be_target(item)) return false;
    }
    return true;
}

static bool sets_loop(const jinja_parser *p, const jinja_node *target)
{
    if (target->kind == JN_NAME) return target->name == p->t->loop_name;
    for (const jinja_node *item = target->items.first; item != NULL; item = item->next) {
        if (sets_loop(p, item)) return true;
    }
    return false;
}

leat_status jinja_parse_target(jinja_parser *p, const char *end_word, bool takes_members, jinja_node **out)
{
    jinja_tuple_style style = {.is_simple = true, .end_word = end_word, .takes_members = takes_members};
    uint32_t varargs = p->varargs_count, kwargs = p->kwargs_count, caller = p->caller_count;
    TRY(jinja_parse_tuple(p, &style, out));
    p->varargs_count = varargs; /* names that are set are not read */
    p->kwargs_count = kwargs;
    p->caller_count = caller;
    if (!can_be_target(*out)) return jinja_syntax_fails(p, "something that can be set");
    if (p->for_depth == 0 || !sets_loop(p, *out)) return LEAT_OK;
    return RAISE(p->env, SYNTAX, "Can't assign to special loop variable in for-loop target");
}
