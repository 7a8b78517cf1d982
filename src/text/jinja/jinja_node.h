/* jinja_node.h - the syntax tree of a template, and the template itself. Constant after parsing. */
#ifndef TEXT_JINJA_NODE_H
#define TEXT_JINJA_NODE_H

#include "text/jinja/jinja_value.h"

typedef enum jinja_node_kind {
    /* expressions */
    JN_CONST,     /* value */
    JN_NAME,      /* name */
    JN_LIST,      /* items */
    JN_TUPLE,     /* items */
    JN_DICT,      /* items: key, value, key, value, ... */
    JN_NOT,       /* a */
    JN_NEGATE,    /* a */
    JN_PLUS,      /* a */
    JN_BINARY,    /* a op b; op: + - * / % f (//) p (**) */
    JN_AND,       /* a, b */
    JN_OR,        /* a, b */
    JN_CONCAT,    /* items */
    JN_COMPARE,   /* a, then items, each with its sign */
    JN_CHOICE,    /* b if a else c (may be NULL) */
    JN_ATTRIBUTE, /* a . value */
    JN_ITEM,      /* a [ b ] */
    JN_SLICE,     /* bounds a, b, c (may be NULL); stands in b of JN_ITEM */
    JN_CALL,      /* a, call */
    JN_FILTER,    /* a (NULL: what the block wrote), sign: its name, builtin (NULL: unknown), call */
    JN_TEST,      /* a, sign, builtin, call; flag: negated */
    /* statements */
    JN_TEXT,         /* value */
    JN_PRINT,        /* a (NULL: the tag), items */
    JN_IF,           /* a, body, other; an elif is an JN_IF alone in other, with flag */
    JN_FOR,          /* a: target, b: what is gone through, c: filter or NULL, body, other; flag: recursive */
    JN_SET,          /* a: target, b */
    JN_SET_BLOCK,    /* a: target, b: filters or NULL, body */
    JN_MEMBER,       /* a target: name . value */
    JN_MACRO,        /* name, value: its name, items: parameters (JN_NAME, default in a), body; reads_* */
    JN_CALL_BLOCK,   /* a: the call, b: a JN_MACRO */
    JN_FILTER_BLOCK, /* b: filters, body */
    JN_WITH,         /* items: target, value, ...; body */
    JN_BLOCK,        /* body; flag: sees the scopes around it */
    JN_GENERATION,   /* body */
    JN_AUTOESCAPE,   /* a, body */
    JN_HIDE,         /* name: undefined in this scope until it is set */
    JN_BREAK,
    JN_CONTINUE,
    JN_REFUSED /* include, import, extends: sign */
} jinja_node_kind;

typedef struct jinja_node jinja_node;

typedef struct jinja_nodes {
    jinja_node *first, *last;
    uint32_t count;
} jinja_nodes;

typedef struct jinja_call_parts {
    jinja_nodes positional, named; /* named: the argument's name in `sign`, its value in a */
    jinja_node *spread, *named_spread;
} jinja_call_parts;

struct jinja_node {
    uint8_t kind;
    char op;
    bool flag, reads_varargs, reads_kwargs, reads_caller;
    uint32_t line, name;
    const char *sign; /* terminated */
    jinja_value value;
    const jinja_builtin *builtin;
    jinja_node *a, *b, *c, *next;
    jinja_nodes items, body, other;
    jinja_call_parts *call;
};

typedef struct jinja_name {
    const char *text;
    uint64_t count;
    jinja_value global; /* MISSING: no such global */
} jinja_name;

struct jinja_template {
    mem *ledger;
    arena nodes;
    jinja_limits limits;
    const char *name;
    jinja_nodes body;
    jinja_name *names;
    uint32_t name_count, name_capacity;
    uint32_t caller_name, varargs_name, kwargs_name, loop_name;
    jinja_list *constants; /* every literal text */
};

/* Fills *t, whose nodes come from env's arena. */
MUST_CHECK leat_status jinja_parse(jinja_env *env, jinja_template *t, const char *source, uint64_t bytes);
/* Runs a template's body into env->out. */
MUST_CHECK leat_status jinja_execute(jinja_env *env, const jinja_variable *variables, uint32_t count);

#endif
