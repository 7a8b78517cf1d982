/*
 * jinja_scope.c - which names a scope hides before it has set them.
 *
 * A name that a scope sets without having read it first is the scope's own from its beginning: the variable of that
 * name outside is not seen by the scopes inside it, however early they run. The exceptions are Jinja2's: a name that a
 * scope around it mentions begins with that scope's value, and one that is set first inside an `if` begins with the
 * variable's. A scope gets a JN_HIDE at its beginning for every name that it hides.
 *
 * A scope is read in two goes: first its own statements, which makes what it knows of each name complete, then the
 * scopes inside it.
 */
#include "text/jinja/jinja_parser.h"

#include <string.h>

enum { KNOWN = 1, HIDDEN = 2 }; /* what the scope in hand does with a name */

typedef struct scope_names {
    uint32_t *items;
    uint64_t count, capacity;
} scope_names;

typedef struct scope_pass {
    jinja_env *scratch; /* pays for what is gone after the pass */
    jinja_parser *p;
    uint8_t *own;      /* by name: flags of the scope in hand */
    uint32_t *around;  /* by name: how many scopes around it know the name */
    scope_names known; /* what the scopes know, those of the innermost last */
    uint32_t if_depth; /* of the statement that is being read */
} scope_pass;

static leat_status add_flags(scope_pass *s, uint32_t name, uint8_t flags)
{
    scope_names *known = &s->known;
    if (s->own[name] == 0) {
        if (known->count == known->capacity) {
            uint32_t *items;
            const uint64_t capacity = known->capacity == 0 ? 64 : 2 * known->capacity;
            TRY(JINJA_NEW(s->scratch, capacity, &items));
            if (known->count > 0) memcpy(items, known->items, known->count * sizeof *items);
            known->items = items;
            known->capacity = capacity;
        }
        known->items[known->count++] = name;
    }
    s->own[name] |= flags;
    return LEAT_OK;
}

static leat_status load(scope_pass *s, uint32_t name) { return add_flags(s, name, KNOWN); }

static leat_status store(scope_pass *s, uint32_t name)
{
    const bool is_hidden = s->own[name] == 0 && s->around[name] == 0 && s->if_depth == 0;
    return add_flags(s, name, is_hidden ? KNOWN | HIDDEN : KNOWN);
}

/* ---- expressions and targets ---- */

static leat_status read_expression(scope_pass *s, const jinja_node *node);

static leat_status read_list(scope_pass *s, const jinja_nodes *nodes)
{
    for (const jinja_node *node = nodes->first; node != NULL; node = node->next) TRY(read_expression(s, node));
    return LEAT_OK;
}

/* Every name that is read. Long chains of operators, filters and attributes hang on `a`; what hangs elsewhere is no
 * deeper than the source may nest. */
static leat_status read_expression(scope_pass *s, const jinja_node *node)
{
    for (; node != NULL; node = node->a) {
        if (node->kind == JN_NAME) TRY(load(s, node->name));
        if (node->b != NULL) TRY(read_expression(s, node->b));
        if (node->c != NULL) TRY(read_expression(s, node->c));
        TRY(read_list(s, &node->items));
        if (node->call == NULL) continue;
        TRY(read_list(s, &node->call->positional));
        TRY(read_list(s, &node->call->named));
        TRY(read_expression(s, node->call->spread));
        TRY(read_expression(s, node->call->named_spread));
    }
    return LEAT_OK;
}

static leat_status read_target(scope_pass *s, const jinja_node *target, bool is_parameter)
{
    if (target->kind == JN_MEMBER) return load(s, target->name);
    if (target->kind == JN_NAME) return is_parameter ? add_flags(s, target->name, KNOWN) : store(s, target->name);
    for (const jinja_node *item = target->items.first; item != NULL; item = item->next)
        TRY(read_target(s, item, is_parameter));
    return LEAT_OK;
}

/* ---- a scope's own statements ---- */

static leat_status read_statements(scope_pass *s, const jinja_nodes *nodes);

/* The branches of an if: what they set begins with the variable's value in all of them. */
static leat_status read_if(scope_pass *s, const jinja_node *node)
{
    s->if_depth++;
    for (;; node = node->other.first) {
        TRY(read_expression(s, node->a));
        TRY(read_statements(s, &node->body));
        if (!node->flag) break;
    }
    TRY(read_statements(s, &node->other));
    s->if_depth--;
    return LEAT_OK;
}

static leat_status read_with_values(scope_pass *s, const jinja_node *node)
{
    for (const jinja_node *target = node->items.first; target != NULL; target = target->next->next)
        TRY(read_expression(s, target->next));
    return LEAT_OK;
}

static leat_status read_statement(scope_pass *s, const jinja_node *node)
{
    switch (node->kind) {
    case JN_PRINT: return read_expression(s, node); /* with its items */
    case JN_IF: return read_if(s, node);
    case JN_FOR: return read_expression(s, node->b);
    case JN_SET: TRY(read_expression(s, node->b)); return read_target(s, node->a, false);
    case JN_SET_BLOCK: return read_target(s, node->a, false);
    case JN_MACRO: return store(s, node->name);
    case JN_CALL_BLOCK: return read_expression(s, node->a);
    case JN_FILTER_BLOCK: return read_expression(s, node->b);
    case JN_WITH: return read_with_values(s, node);
    default: return LEAT_OK; /* scopes of their own, and what names nothing */
    }
}

static leat_status read_statements(scope_pass *s, const jinja_nodes *nodes)
{
    for (const jinja_node *node = nodes->first; node != NULL; node = node->next) TRY(read_statement(s, node));
    return LEAT_OK;
}

/* ---- scopes inside each other ---- */

static leat_status read_parameters(scope_pass *s, const jinja_node *macro)
{
    for (const jinja_node *p = macro->items.first; p != NULL; p = p->next) TRY(read_target(s, p, true));
    for (const jinja_node *p = macro->items.first; p != NULL; p = p->next) TRY(read_expression(s, p->a));
    return LEAT_OK;
}

static leat_status hide(scope_pass *s, jinja_nodes *body, uint32_t name)
{
    jinja_node *node;
    TRY(jinja_new_node(s->p, JN_HIDE, &node));
    node->name = name;
    node->line = body->first->line;
    node->next = body->first;
    body->first = node;
    body->count++;
    return LEAT_OK;
}

static leat_status enter_scopes(scope_pass *s, const jinja_nodes *nodes);

/* A scope of which `first` and what follows among the known names are the parameters: its statements, what it hides,
 * the scopes inside it. */
static leat_status finish_scope(scope_pass *s, uint64_t first, jinja_nodes *body)
{
    TRY(read_statements(s, body));
    for (uint64_t i = first; i < s->known.count; i++) {
        const uint32_t name = s->known.items[i];
        if ((s->own[name] & HIDDEN) != 0) TRY(hide(s, body, name));
        s->own[name] = 0;
        s->around[name]++;
    }
    TRY(enter_scopes(s, body));
    while (s->known.count > first) s->around[s->known.items[--s->known.count]]--;
    return LEAT_OK;
}

static leat_status enter_body(scope_pass *s, jinja_nodes *body) { return finish_scope(s, s->known.count, body); }

static leat_status enter_for(scope_pass *s, jinja_node *node)
{
    const uint64_t first = s->known.count;
    TRY(read_target(s, node->a, true));
    TRY(add_flags(s, s->p->t->loop_name, KNOWN));
    TRY(finish_scope(s, first, &node->body));
    return enter_body(s, &node->other);
}

static leat_status enter_with(scope_pass *s, jinja_node *node)
{
    const uint64_t first = s->known.count;
    for (const jinja_node *target = node->items.first; target != NULL; target = target->next->next)
        TRY(read_target(s, target, true));
    return finish_scope(s, first, &node->body);
}

static leat_status enter_function(scope_pass *s, jinja_node *macro)
{
    const uint64_t first = s->known.count;
    TRY(read_parameters(s, macro));
    return finish_scope(s, first, &macro->body);
}

static leat_status enter_autoescape(scope_pass *s, jinja_node *node)
{
    const uint64_t first = s->known.count;
    TRY(read_expression(s, node->a));
    return finish_scope(s, first, &node->body);
}

static leat_status enter_if(scope_pass *s, const jinja_node *node)
{
    for (;; node = node->other.first) {
        TRY(enter_scopes(s, &node->body));
        if (!node->flag) return enter_scopes(s, &node->other);
    }
}

static leat_status enter_scopes(scope_pass *s, const jinja_nodes *nodes)
{
    for (jinja_node *node = nodes->first; node != NULL; node = node->next) {
        switch (node->kind) {
        case JN_IF: TRY(enter_if(s, node)); break;
        case JN_FOR: TRY(enter_for(s, node)); break;
        case JN_WITH: TRY(enter_with(s, node)); break;
        case JN_MACRO: TRY(enter_function(s, node)); break;
        case JN_CALL_BLOCK: TRY(enter_function(s, node->b)); break;
        case JN_AUTOESCAPE: TRY(enter_autoescape(s, node)); break;
        case JN_SET_BLOCK:
        case JN_FILTER_BLOCK:
        case JN_BLOCK:
        case JN_GENERATION: TRY(enter_body(s, &node->body)); break;
        default: break;
        }
    }
    return LEAT_OK;
}

leat_status jinja_hide_names(jinja_parser *p, jinja_env *scratch)
{
    scope_pass s = {.scratch = scratch, .p = p};
    TRY(JINJA_NEW(scratch, p->t->name_count, &s.own));
    TRY(JINJA_NEW(scratch, p->t->name_count, &s.around));
    return enter_body(&s, &p->t->body);
}
