/* jinja_parser.c - statements: from tokens to the tree. */
#include "text/jinja/jinja_parser.h"

#include "base/bytes.h"

#include <string.h>

/* ---- tokens ---- */

static const char *token_words(const jinja_token *token, char out[64])
{
    static const char *const words[] = {[JT_DATA] = "text",
                                        [JT_BLOCK_BEGIN] = "begin of statement block",
                                        [JT_BLOCK_END] = "end of statement block",
                                        [JT_PRINT_BEGIN] = "begin of print statement",
                                        [JT_PRINT_END] = "end of print statement",
                                        [JT_STRING] = "string",
                                        [JT_INTEGER] = "integer",
                                        [JT_FLOAT] = "float",
                                        [JT_END] = "end of template"};
    if (token->kind != JT_NAME && token->kind != JT_SIGN) return words[token->kind];
    uint64_t count = min_u64(token->count, 40);
    memcpy(out, token->text, count);
    out[count] = '\0';
    return out;
}

leat_status jinja_syntax_fails(jinja_parser *p, const char *expected)
{
    char words[64];
    p->env->line = p->tokens->line;
    return RAISE(p->env, SYNTAX, "expected %.100s, got '%s'", expected, token_words(p->tokens, words));
}

leat_status jinja_parse_enter(jinja_parser *p)
{
    p->env->line = p->tokens->line;
    if (p->depth >= p->t->limits.parse_depth_max)
        return RAISE(p->env, LIMIT, "nested more than %u deep", p->t->limits.parse_depth_max);
    p->depth++;
    return LEAT_OK;
}

leat_status jinja_new_node(jinja_parser *p, jinja_node_kind kind, jinja_node **out)
{
    TRY(JINJA_NEW(p->env, 1, out));
    (*out)->kind = (uint8_t)kind;
    (*out)->line = p->tokens->line;
    return LEAT_OK;
}

bool jinja_token_is(const jinja_token *token, jinja_token_kind kind, const char *text)
{
    return token->kind == kind && token->count == strlen(text) && memcmp(token->text, text, token->count) == 0;
}

bool jinja_at_sign(const jinja_parser *p, const char *sign) { return jinja_token_is(p->tokens, JT_SIGN, sign); }
bool jinja_at_word(const jinja_parser *p, const char *word) { return jinja_token_is(p->tokens, JT_NAME, word); }

bool jinja_take_sign(jinja_parser *p, const char *sign)
{
    bool is_there = jinja_at_sign(p, sign);
    p->tokens += is_there;
    return is_there;
}

bool jinja_take_word(jinja_parser *p, const char *word)
{
    bool is_there = jinja_at_word(p, word);
    p->tokens += is_there;
    return is_there;
}

leat_status jinja_need_sign(jinja_parser *p, const char *sign)
{
    return jinja_take_sign(p, sign) ? LEAT_OK : jinja_syntax_fails(p, sign);
}

leat_status jinja_need_word(jinja_parser *p, const char *word)
{
    return jinja_take_word(p, word) ? LEAT_OK : jinja_syntax_fails(p, word);
}

leat_status jinja_intern(jinja_parser *p, const char *text, uint64_t count, uint32_t *out)
{
    jinja_template *t = p->t;
    for (*out = 0; *out < t->name_count; ++*out) {
        const jinja_name *name = &t->names[*out];
        if (name->count == count && memcmp(name->text, text, count) == 0) return LEAT_OK;
    }
    if (t->name_count == t->name_capacity) {
        jinja_name *names;
        t->name_capacity = t->name_capacity == 0 ? 64 : 2 * t->name_capacity;
        TRY(JINJA_NEW(p->env, t->name_capacity, &names));
        if (t->name_count > 0) memcpy(names, t->names, t->name_count * sizeof *names);
        t->names = names;
    }
    char *copy;
    TRY(jinja_alloc(p->env, count + 1, 1, &copy));
    memcpy(copy, text, count);
    t->names[t->name_count] = (jinja_name){.text = copy, .count = count};
    const jinja_builtin *global = jinja_find_global(copy, count);
    if (global != NULL) TRY(jinja_bind(p->env, global, (jinja_value){0}, &t->names[t->name_count].global));
    t->name_count++;
    return LEAT_OK;
}

leat_status jinja_need_name(jinja_parser *p, const char **out_text, uint32_t *out_name)
{
    if (p->tokens->kind != JT_NAME) return jinja_syntax_fails(p, "a name");
    TRY(jinja_intern(p, p->tokens->text, p->tokens->count, out_name));
    *out_text = p->t->names[*out_name].text;
    p->tokens++;
    return LEAT_OK;
}

leat_status jinja_new_constant(jinja_parser *p, const char *text, uint64_t count, jinja_value *out)
{
    TRY(jinja_new_string(p->env, text, count, false, out));
    jinja_char_count(out->string); /* counted now: a template is constant afterwards */
    return jinja_push(p->env, p->t->constants, *out);
}

/* ---- statements ---- */

static leat_status parse_body(jinja_parser *p, const char *const *end_words, jinja_nodes *out);

/* A body up to one of the words, which is left to be read. `is_hard`: unknown filters matter in it again. */
static leat_status parse_inner(jinja_parser *p, bool is_hard, const char *const *end_words, jinja_nodes *out)
{
    bool was_soft = p->is_soft;
    if (is_hard) p->is_soft = false;
    (void)jinja_take_sign(p, ":"); /* as in Python */
    if (p->tokens->kind != JT_BLOCK_END) return jinja_syntax_fails(p, "end of statement block");
    p->tokens++;
    TRY(parse_body(p, end_words, out));
    p->is_soft = was_soft;
    return LEAT_OK;
}

/* A body up to `word`, which is taken. */
static leat_status parse_block(jinja_parser *p, bool is_hard, const char *word, jinja_nodes *out)
{
    const char *words[] = {word, NULL};
    TRY(parse_inner(p, is_hard, words, out));
    return jinja_need_word(p, word);
}

static leat_status parse_if(jinja_parser *p, jinja_node *node)
{
    static const char *const words[] = {"elif", "else", "endif", NULL};
    jinja_tuple_style test = {.has_no_choice = true};
    bool was_soft = p->is_soft;
    p->is_soft = true;
    for (;;) {
        TRY(jinja_parse_tuple(p, &test, &node->a));
        TRY(parse_inner(p, false, words, &node->body));
        if (!jinja_take_word(p, "elif")) break;
        jinja_node *next;
        TRY(jinja_new_node(p, JN_IF, &next));
        jinja_add_node(&node->other, next);
        node->flag = true;
        node = next;
    }
    if (jinja_take_word(p, "else"))
        TRY(parse_block(p, false, "endif", &node->other));
    else
        TRY(jinja_need_word(p, "endif"));
    p->is_soft = was_soft;
    return LEAT_OK;
}

/* The parts of a loop from its target on, which may not set `loop`. */
static leat_status parse_for_parts(jinja_parser *p, jinja_node *node)
{
    static const char *const words[] = {"endfor", "else", NULL};
    jinja_tuple_style source = {.has_no_choice = true, .end_word = "recursive"};
    bool was_soft = p->is_soft;
    TRY(jinja_parse_target(p, "in", false, &node->a));
    TRY(jinja_need_word(p, "in"));
    TRY(jinja_parse_tuple(p, &source, &node->b));
    p->is_soft = false;
    if (jinja_take_word(p, "if")) TRY(jinja_parse_expression(p, &node->c));
    p->is_soft = was_soft;
    node->flag = jinja_take_word(p, "recursive");
    p->loop_depth++;
    TRY(parse_inner(p, true, words, &node->body));
    p->loop_depth--;
    if (jinja_take_word(p, "else")) return parse_block(p, true, "endfor", &node->other);
    return jinja_need_word(p, "endfor");
}

static leat_status parse_for(jinja_parser *p, jinja_node *node)
{
    p->for_depth++;
    TRY(parse_for_parts(p, node));
    p->for_depth--;
    return LEAT_OK;
}

static leat_status parse_set(jinja_parser *p, jinja_node *node)
{
    bool was_soft = p->is_soft;
    TRY(jinja_parse_target(p, NULL, true, &node->a));
    if (jinja_take_sign(p, "=")) return jinja_parse_tuple(p, &(jinja_tuple_style){0}, &node->b);
    node->kind = JN_SET_BLOCK;
    p->is_soft = false;
    TRY(jinja_parse_filters(p, NULL, false, &node->b));
    p->is_soft = was_soft;
    return parse_block(p, true, "endset", &node->body);
}

static leat_status parse_signature(jinja_parser *p, jinja_node *macro)
{
    TRY(jinja_need_sign(p, "("));
    while (!jinja_at_sign(p, ")")) {
        jinja_node *parameter;
        if (macro->items.count > 0) TRY(jinja_need_sign(p, ","));
        TRY(jinja_new_node(p, JN_NAME, &parameter));
        TRY(jinja_need_name(p, &parameter->sign, &parameter->name));
        for (const jinja_node *other = macro->items.first; other != NULL; other = other->next) {
            if (other->name == parameter->name)
                return RAISE(p->env, SYNTAX, "duplicate argument '%.100s' in function definition", parameter->sign);
        }
        TRY(jinja_new_string(p->env, parameter->sign, strlen(parameter->sign), false, &parameter->value));
        if (jinja_take_sign(p, "="))
            TRY(jinja_parse_expression(p, &parameter->a));
        else if (macro->items.last != NULL && macro->items.last->a != NULL)
            return jinja_syntax_fails(p, "a default: the parameter before has one");
        jinja_add_node(&macro->items, parameter);
    }
    return jinja_need_sign(p, ")");
}

/* The body of a macro or caller: a function of its own, which loops outside do not reach into. */
static leat_status parse_function(jinja_parser *p, jinja_node *macro, const char *end_word)
{
    uint32_t loops = p->loop_depth, varargs = p->varargs_count, kwargs = p->kwargs_count, caller = p->caller_count;
    p->loop_depth = 0;
    TRY(parse_block(p, true, end_word, &macro->body));
    p->loop_depth = loops;
    macro->reads_varargs = p->varargs_count > varargs;
    macro->reads_kwargs = p->kwargs_count > kwargs;
    macro->reads_caller = p->caller_count > caller;
    for (const jinja_node *a = macro->items.first; macro->reads_caller && a != NULL; a = a->next) {
        if (a->name == p->t->caller_name && a->a == NULL)
            return RAISE(p->env, SYNTAX, "the argument 'caller' has no default");
    }
    return LEAT_OK;
}

static leat_status parse_macro(jinja_parser *p, jinja_node *node)
{
    TRY(jinja_need_name(p, &node->sign, &node->name));
    TRY(jinja_new_string(p->env, node->sign, strlen(node->sign), false, &node->value));
    TRY(parse_signature(p, node));
    return parse_function(p, node, "endmacro");
}

static leat_status parse_call_block(jinja_parser *p, jinja_node *node)
{
    TRY(jinja_new_node(p, JN_MACRO, &node->b));
    TRY(jinja_literal(p->env, "caller", &node->b->value));
    if (jinja_at_sign(p, "(")) TRY(parse_signature(p, node->b));
    TRY(jinja_parse_expression(p, &node->a));
    if (node->a->kind != JN_CALL) return jinja_syntax_fails(p, "a call");
    return parse_function(p, node->b, "endcall");
}

static leat_status parse_filter_block(jinja_parser *p, jinja_node *node)
{
    bool was_soft = p->is_soft;
    p->is_soft = false;
    TRY(jinja_parse_filters(p, NULL, true, &node->b));
    p->is_soft = was_soft;
    return parse_block(p, true, "endfilter", &node->body);
}

static leat_status parse_with(jinja_parser *p, jinja_node *node)
{
    jinja_node *item;
    const uint32_t for_depth = p->for_depth;
    while (p->tokens->kind != JT_BLOCK_END) {
        if (node->items.count > 0) TRY(jinja_need_sign(p, ","));
        p->for_depth = 0; /* `loop`, too, may be named */
        TRY(jinja_parse_target(p, NULL, false, &item));
        p->for_depth = for_depth;
        jinja_add_node(&node->items, item);
        TRY(jinja_need_sign(p, "="));
        TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&node->items, item);
    }
    return parse_block(p, true, "endwith", &node->body);
}

static leat_status parse_named_block(jinja_parser *p, jinja_node *node)
{
    uint32_t name, loops = p->loop_depth;
    TRY(jinja_need_name(p, &node->sign, &name));
    node->flag = jinja_take_word(p, "scoped");
    if (!node->flag) (void)jinja_take_word(p, "required");
    p->loop_depth = 0;
    TRY(parse_block(p, true, "endblock", &node->body));
    p->loop_depth = loops;
    if (p->tokens->kind == JT_NAME) return jinja_need_word(p, node->sign);
    return LEAT_OK;
}

static leat_status parse_generation(jinja_parser *p, jinja_node *node)
{
    return parse_function(p, node, "endgeneration");
}

static leat_status parse_autoescape(jinja_parser *p, jinja_node *node)
{
    TRY(jinja_parse_expression(p, &node->a));
    return parse_block(p, false, "endautoescape", &node->body);
}

static leat_status parse_jump(jinja_parser *p, jinja_node *node)
{
    (void)node;
    if (p->loop_depth > 0) return LEAT_OK;
    p->env->line = p->tokens->line;
    return RAISE(p->env, SYNTAX, "'break' or 'continue' outside a loop");
}

static leat_status parse_refused(jinja_parser *p, jinja_node *node)
{
    (void)node;
    while (p->tokens->kind != JT_BLOCK_END && p->tokens->kind != JT_END) p->tokens++;
    return LEAT_OK;
}

/* The tag: several expressions, which are written one behind the other. */
static leat_status parse_print(jinja_parser *p, jinja_node *node)
{
    jinja_node *item;
    while (p->tokens->kind != JT_BLOCK_END) {
        if (node->items.count > 0) TRY(jinja_need_sign(p, ","));
        TRY(jinja_parse_expression(p, &item));
        jinja_add_node(&node->items, item);
    }
    return LEAT_OK;
}

static const struct {
    const char *word;
    jinja_node_kind kind;
    leat_status (*parse)(jinja_parser *p, jinja_node *node);
} statements[] = {
    {"if", JN_IF, parse_if},
    {"for", JN_FOR, parse_for},
    {"set", JN_SET, parse_set},
    {"macro", JN_MACRO, parse_macro},
    {"call", JN_CALL_BLOCK, parse_call_block},
    {"filter", JN_FILTER_BLOCK, parse_filter_block},
    {"with", JN_WITH, parse_with},
    {"block", JN_BLOCK, parse_named_block},
    {"generation", JN_GENERATION, parse_generation},
    {"autoescape", JN_AUTOESCAPE, parse_autoescape},
    {"print", JN_PRINT, parse_print},
    {"break", JN_BREAK, parse_jump},
    {"continue", JN_CONTINUE, parse_jump},
    {"include", JN_REFUSED, parse_refused},
    {"import", JN_REFUSED, parse_refused},
    {"from", JN_REFUSED, parse_refused},
    {"extends", JN_REFUSED, parse_refused},
};

static leat_status parse_statement(jinja_parser *p, jinja_nodes *out)
{
    jinja_node *node;
    char words[64];
    if (p->tokens->kind != JT_NAME) return jinja_syntax_fails(p, "a tag's name");
    for (size_t i = 0; i < ARRAY_COUNT(statements); i++) {
        if (!jinja_at_word(p, statements[i].word)) continue;
        TRY(jinja_parse_enter(p));
        TRY(jinja_new_node(p, statements[i].kind, &node));
        node->sign = statements[i].word;
        p->tokens++;
        TRY(statements[i].parse(p, node));
        jinja_parse_leave(p);
        jinja_add_node(out, node);
        if (p->tokens->kind != JT_BLOCK_END) return jinja_syntax_fails(p, "end of statement block");
        p->tokens++;
        return LEAT_OK;
    }
    p->env->line = p->tokens->line;
    return RAISE(p->env, SYNTAX, "Encountered unknown tag '%s'.", token_words(p->tokens, words));
}

static leat_status parse_text(jinja_parser *p, jinja_nodes *out)
{
    jinja_node *node;
    TRY(jinja_new_node(p, JN_TEXT, &node));
    TRY(jinja_new_constant(p, p->tokens->text, p->tokens->count, &node->value));
    p->tokens++;
    jinja_add_node(out, node);
    return LEAT_OK;
}

static leat_status parse_output(jinja_parser *p, jinja_nodes *out)
{
    jinja_node *node;
    TRY(jinja_new_node(p, JN_PRINT, &node));
    p->tokens++;
    TRY(jinja_parse_tuple(p, &(jinja_tuple_style){0}, &node->a));
    if (p->tokens->kind != JT_PRINT_END) return jinja_syntax_fails(p, "end of print statement");
    p->tokens++;
    jinja_add_node(out, node);
    return LEAT_OK;
}

static leat_status parse_body(jinja_parser *p, const char *const *end_words, jinja_nodes *out)
{
    for (;;) {
        if (p->tokens->kind == JT_END) return end_words == NULL ? LEAT_OK : jinja_syntax_fails(p, end_words[0]);
        if (p->tokens->kind == JT_DATA)
            TRY(parse_text(p, out));
        else if (p->tokens->kind == JT_PRINT_BEGIN)
            TRY(parse_output(p, out));
        else { /* a block: the lexer lets nothing else stand here */
            p->tokens++;
            for (const char *const *word = end_words; word != NULL && *word != NULL; word++) {
                if (jinja_at_word(p, *word)) return LEAT_OK;
            }
            TRY(parse_statement(p, out));
        }
    }
}

static leat_status intern_special_names(jinja_parser *p)
{
    TRY(jinja_intern(p, "caller", 6, &p->t->caller_name));
    TRY(jinja_intern(p, "varargs", 7, &p->t->varargs_name));
    TRY(jinja_intern(p, "kwargs", 6, &p->t->kwargs_name));
    return jinja_intern(p, "loop", 4, &p->t->loop_name);
}

static leat_status parse_tokens(jinja_parser *p, jinja_env *tokens, const char *source, uint64_t bytes)
{
    jinja_token *first;
    uint64_t count;
    leat_status status = jinja_lex(tokens, source, bytes, &first, &count);
    p->env->fault = tokens->fault;
    TRY(status);
    p->tokens = first;
    TRY(jinja_new_list(p->env, 0, &p->t->constants));
    TRY(intern_special_names(p));
    TRY(parse_body(p, NULL, &p->t->body));
    status = jinja_hide_names(p, tokens);
    if (status != LEAT_OK) p->env->fault = tokens->fault;
    return status;
}

leat_status jinja_parse(jinja_env *env, jinja_template *t, const char *source, uint64_t bytes)
{
    jinja_parser p = {.env = env, .t = t};
    jinja_env tokens; /* gone when the tree stands */
    jinja_env_init(&tokens, env->values.ledger, env->name, env->limits, env->error);
    leat_status status = parse_tokens(&p, &tokens, source, bytes);
    arena_reset(&tokens.values);
    return status;
}
