/* jinja_parser.h - what the two halves of the parser (statements, expressions) share. */
#ifndef TEXT_JINJA_PARSER_H
#define TEXT_JINJA_PARSER_H

#include "text/jinja/jinja_lexer.h"
#include "text/jinja/jinja_node.h"

typedef struct jinja_parser {
    jinja_env *env;
    jinja_template *t;
    const jinja_token *tokens; /* the current one */
    uint32_t depth, loop_depth;
    uint32_t for_depth;                                 /* loops around, those around a macro or block too */
    uint32_t varargs_count, kwargs_count, caller_count; /* how often these names were read */
    bool is_soft;                                       /* an unknown filter or test matters only when it is reached */
} jinja_parser;

MUST_CHECK leat_status jinja_syntax_fails(jinja_parser *p, const char *expected);
MUST_CHECK leat_status jinja_parse_enter(jinja_parser *p);
static inline void jinja_parse_leave(jinja_parser *p) { p->depth--; }
MUST_CHECK leat_status jinja_new_node(jinja_parser *p, jinja_node_kind kind, jinja_node **out);
static inline void jinja_add_node(jinja_nodes *list, jinja_node *node)
{
    if (list->first == NULL)
        list->first = node;
    else
        list->last->next = node;
    list->last = node;
    list->count++;
}
bool jinja_at_sign(const jinja_parser *p, const char *sign);
bool jinja_at_word(const jinja_parser *p, const char *word);
bool jinja_token_is(const jinja_token *token, jinja_token_kind kind, const char *text);
bool jinja_take_sign(jinja_parser *p, const char *sign);
bool jinja_take_word(jinja_parser *p, const char *word);
MUST_CHECK leat_status jinja_need_sign(jinja_parser *p, const char *sign);
MUST_CHECK leat_status jinja_need_word(jinja_parser *p, const char *word);
/* A name token's text, terminated, and its number. */
MUST_CHECK leat_status jinja_need_name(jinja_parser *p, const char **out_text, uint32_t *out_name);
MUST_CHECK leat_status jinja_intern(jinja_parser *p, const char *text, uint64_t count, uint32_t *out);
/* A literal text of the template, remembered for jinja_mentions. */
MUST_CHECK leat_status jinja_new_constant(jinja_parser *p, const char *text, uint64_t count, jinja_value *out);

typedef struct jinja_tuple_style {
    bool is_simple;     /* elements are primaries: targets */
    bool has_no_choice; /* no inline if */
    bool has_brackets;  /* may be empty */
    bool takes_members; /* ns.a */
    const char *end_word;
} jinja_tuple_style;

MUST_CHECK leat_status jinja_parse_tuple(jinja_parser *p, const jinja_tuple_style *style, jinja_node **out);
MUST_CHECK leat_status jinja_parse_expression(jinja_parser *p, jinja_node **out);
/* Filters behind `input` (NULL: what a block wrote); is_inline: the first '|' is not there. */
MUST_CHECK leat_status jinja_parse_filters(jinja_parser *p, jinja_node *input, bool is_inline, jinja_node **out);
/* Puts a JN_HIDE at the beginning of scopes that set a name before they read it. `scratch` pays for the work. */
MUST_CHECK leat_status jinja_hide_names(jinja_parser *p, jinja_env *scratch);
MUST_CHECK leat_status jinja_parse_target(jinja_parser *p, const char *end_word, bool takes_members, jinja_node **out);

#endif
