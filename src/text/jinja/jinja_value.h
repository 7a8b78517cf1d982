/*
 * jinja_value.h - the values a template computes with, and the run they live in.
 *
 * Every value lives in the arena of its run and dies with it; strings never change, lists and dictionaries may. A
 * string knows of its bytes which came from the conversation: all or none of them, or by a mask.
 *
 * Threads: a run belongs to one thread.
 */
#ifndef TEXT_JINJA_VALUE_H
#define TEXT_JINJA_VALUE_H

#include "base/arena.h"
#include "text/jinja/jinja.h"

typedef enum jinja_kind {
    JV_MISSING, /* an argument that was not given; never seen by a template */
    JV_UNDEFINED,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_BIG, /* an integer beyond 64 bits: its decimal digits */
    JV_FLOAT,
    JV_STRING,
    JV_BYTES,
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_VIEW, /* dict.keys(), .values(), .items() */
    JV_RANGE,
    JV_ITER, /* what map, select, ... give: can be read once */
    JV_NAMESPACE,
    JV_FUNCTION, /* a global, or a method with its object */
    JV_MACRO,
    JV_LOOP,
    JV_CYCLER,
    JV_JOINER,
} jinja_kind;

typedef struct jinja_value jinja_value;
typedef struct jinja_env jinja_env;

/* Bytes that the string at their end may grow into, so that building a text piece by piece takes linear time. */
typedef struct jinja_buffer {
    char *bytes;
    uint8_t *mask; /* NULL until bytes of both origins are in it */
    uint64_t used, capacity;
} jinja_buffer;

typedef struct jinja_string {
    const char *bytes; /* valid UTF-8, not terminated */
    uint64_t count;
    const uint8_t *mask; /* by byte: came from data; NULL: is_data says it of all */
    uint64_t char_count; /* once is_counted */
    jinja_buffer *buffer;
    bool is_data, is_markup, is_counted;
} jinja_string;

typedef struct jinja_list {
    jinja_value *items;
    uint64_t count, capacity;
    bool is_fixed; /* a variable or part of one: the template may not change it */
    bool is_group; /* a pair of groupby: its parts have names */
} jinja_list;

typedef struct jinja_dict jinja_dict;
typedef struct jinja_iter jinja_iter;
typedef struct jinja_bound jinja_bound;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_loop jinja_loop;

typedef struct jinja_range {
    int64_t start, stop, step;
} jinja_range;

typedef struct jinja_turn jinja_turn;

typedef enum jinja_view { JINJA_KEYS, JINJA_VALUES, JINJA_ITEMS } jinja_view;

enum { JINJA_UNDEFINED_NAME = 1, JINJA_UNDEFINED_OTHER, JINJA_UNDEFINED_OF = 16, JINJA_UNDEFINED_UNSAFE = 64 };

struct jinja_value {
    uint8_t kind;
    uint8_t aux; /* UNDEFINED: one of the above; _OF and _UNSAFE with the kind of the attribute's object added; VIEW */
    uint32_t count; /* UNDEFINED: bytes of its name */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *name; /* UNDEFINED */
        jinja_string *string;
        jinja_list *list; /* LIST, TUPLE */
        jinja_dict *dict; /* DICT, VIEW, NAMESPACE */
        jinja_range *range;
        jinja_iter *iter;
        jinja_bound *bound;
        jinja_macro *macro;
        jinja_loop *loop;
        jinja_turn *turn;
    };
};

/* cycler(...): the list it goes round; joiner(...): the separator. */
struct jinja_turn {
    jinja_value items;
    uint64_t at;
};

typedef struct jinja_entry {
    jinja_value key, value; /* key MISSING: removed */
} jinja_entry;

/* Keeps the order of insertion. */
struct jinja_dict {
    jinja_entry *entries;
    uint32_t used, live, capacity;
    uint32_t *table; /* entry number + 1; NULL while there are few */
    uint32_t table_size;
    bool is_fixed; /* as a list's */
};

typedef struct jinja_named {
    const jinja_string *name;
    jinja_value value;
} jinja_named;

typedef struct jinja_arguments {
    const jinja_value *values;
    const jinja_named *named;
    uint32_t count, named_count;
} jinja_arguments;

enum { JINJA_PARAMETERS_MAX = 6 };

/* A filter, test, method or global. `parameters`: names in order ("width first blank"), the first `required` of them
 * needed; NULL: any arguments, read from `raw`. `given` has MISSING for what was not given. */
typedef leat_status jinja_run_fn(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,
                                 jinja_value *out);
typedef struct jinja_builtin {
    const char *name, *parameters;
    uint32_t required;
    jinja_run_fn *run;
} jinja_builtin;

struct jinja_bound {
    const jinja_builtin *builtin;
    jinja_value self;
};

typedef leat_status jinja_next_fn(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has);
struct jinja_iter {
    jinja_next_fn *next;
    jinja_value source;
    uint64_t at;
    jinja_iter *inner;
    void *state;
};

/* A string that is being built. */
typedef struct jinja_builder {
    jinja_env *env;
    char *bytes;
    uint8_t *mask;
    uint64_t count, capacity;
    bool is_data;  /* while mask is NULL: of all bytes */
    bool is_ascii; /* repr escapes everything else, as ascii() does */
} jinja_builder;

typedef struct jinja_frame jinja_frame;

struct jinja_env {
    arena values;
    const jinja_template *t;
    const jinja_limits *limits;
    const char *name; /* of the template, for errors */
    leat_error *error;
    jinja_fault fault;
    const jinja_string *message; /* JINJA_RAISED: what was raised, in full */
    uint64_t step_count, next_poll, byte_count;
    uint32_t depth, call_depth, line;
    int64_t now;
    bool is_autoescape;
    jinja_builder *out;
    jinja_frame *root;
};

/* ---- the run: jinja_env.c ---- */

void jinja_env_init(jinja_env *env, mem *ledger, const char *name, const jinja_limits *limits, leat_error *error);
void jinja_raise(jinja_env *env, jinja_fault fault, const char *format, ...) PRINTF_LIKE(3, 4);
/* The value is a constant, so that the compiler knows it for a failure. */
#define RAISE(env, fault_name, ...) (jinja_raise((env), JINJA_##fault_name, __VA_ARGS__), LEAT_USAGE)
MUST_CHECK leat_status jinja_alloc(jinja_env *env, uint64_t count, uint64_t each_bytes, void *out_pointer);
#define JINJA_NEW(env, count, out_pointer) jinja_alloc((env), (count), sizeof **(out_pointer), (void *)(out_pointer))
/* Pays for work from the run's steps. */
MUST_CHECK leat_status jinja_charge(jinja_env *env, uint64_t steps);
MUST_CHECK leat_status jinja_charge_bytes(jinja_env *env, uint64_t bytes);
/* Bounds every recursion over values and syntax; leave after each successful enter. */
MUST_CHECK leat_status jinja_enter(jinja_env *env);
static inline void jinja_leave(jinja_env *env) { env->depth--; }

/* ---- making values ---- */

static inline jinja_value jinja_none(void) { return (jinja_value){.kind = JV_NONE}; }
static inline jinja_value jinja_bool(bool truth) { return (jinja_value){.kind = JV_BOOL, .truth = truth}; }
static inline jinja_value jinja_int(int64_t integer) { return (jinja_value){.kind = JV_INT, .integer = integer}; }
static inline jinja_value jinja_float(double real) { return (jinja_value){.kind = JV_FLOAT, .real = real}; }
static inline jinja_value jinja_of_string(const jinja_string *string)
{
    return (jinja_value){.kind = JV_STRING, .string = (jinja_string *)string};
}
static inline jinja_value jinja_of_list(jinja_list *list) { return (jinja_value){.kind = JV_LIST, .list = list}; }
static inline jinja_value jinja_of_tuple(jinja_list *list) { return (jinja_value){.kind = JV_TUPLE, .list = list}; }
static inline jinja_value jinja_of_dict(jinja_dict *dict) { return (jinja_value){.kind = JV_DICT, .dict = dict}; }
static inline jinja_value jinja_of_iter(jinja_iter *iter) { return (jinja_value){.kind = JV_ITER, .iter = iter}; }
static inline jinja_value jinja_undefined(const char *why)
{
    return (jinja_value){
        .kind = JV_UNDEFINED, .aux = JINJA_UNDEFINED_OTHER, .count = (uint32_t)__builtin_strlen(why), .name = why};
}
static inline bool jinja_is_integral(jinja_value v)
{
    return v.kind == JV_INT || v.kind == JV_BOOL || v.kind == JV_BIG;
}
static inline bool jinja_is_number(jinja_value v) { return jinja_is_integral(v) || v.kind == JV_FLOAT; }
static inline bool jinja_is_given(jinja_value v) { return v.kind != JV_MISSING; }

/* ---- strings: jinja_string.c ---- */

MUST_CHECK leat_status jinja_new_string(jinja_env *env, const char *bytes, uint64_t count, bool is_data,
                                        jinja_value *out);
MUST_CHECK leat_status jinja_literal(jinja_env *env, const char *text, jinja_value *out); /* text stays where it is */
/* Bytes [begin, end) of a string, which it goes on sharing. */
MUST_CHECK leat_status jinja_substring(jinja_env *env, const jinja_string *s, uint64_t begin, uint64_t end,
                                       jinja_value *out);
MUST_CHECK leat_status jinja_concat(jinja_env *env, const jinja_string *a, const jinja_string *b, jinja_value *out);
bool jinja_string_has_data(const jinja_string *s);
uint64_t jinja_char_count(jinja_string *s);
/* The byte offset of character `index` (at most the count of characters). */
uint64_t jinja_char_offset(jinja_string *s, uint64_t index);
bool jinja_string_is(const jinja_string *s, const char *text);
bool jinja_same_bytes(const jinja_string *a, const jinja_string *b);
uint32_t jinja_char_at(const jinja_string *s, uint64_t at, uint64_t *out_next);

jinja_builder jinja_build(jinja_env *env);
MUST_CHECK leat_status jinja_append(jinja_builder *b, const jinja_string *s);
MUST_CHECK leat_status jinja_append_part(jinja_builder *b, const jinja_string *s, uint64_t begin, uint64_t end);
MUST_CHECK leat_status jinja_append_bytes(jinja_builder *b, const char *bytes, uint64_t count, bool is_data);
MUST_CHECK leat_status jinja_append_text(jinja_builder *b, const char *text);
MUST_CHECK leat_status jinja_append_fill(jinja_builder *b, const jinja_string *s, uint64_t times);
MUST_CHECK leat_status jinja_append_scalar(jinja_builder *b, uint32_t scalar, bool is_data);
MUST_CHECK leat_status jinja_finish(jinja_builder *b, jinja_value *out);

/* ---- lists and dictionaries: jinja_container.c ---- */

MUST_CHECK leat_status jinja_new_list(jinja_env *env, uint64_t capacity, jinja_list **out);
MUST_CHECK leat_status jinja_push(jinja_env *env, jinja_list *list, jinja_value item);
MUST_CHECK leat_status jinja_new_pair(jinja_env *env, jinja_value a, jinja_value b, jinja_value *out); /* a tuple */
MUST_CHECK leat_status jinja_new_dict(jinja_env *env, jinja_dict **out);
MUST_CHECK leat_status jinja_dict_set(jinja_env *env, jinja_dict *dict, jinja_value key, jinja_value value);
/* *out is MISSING when there is none; raises for keys that cannot be hashed. */
MUST_CHECK leat_status jinja_dict_get(jinja_env *env, const jinja_dict *dict, jinja_value key, jinja_value *out);
MUST_CHECK leat_status jinja_dict_remove(jinja_env *env, jinja_dict *dict, jinja_value key, jinja_value *out);
void jinja_dict_clear(jinja_dict *dict);
MUST_CHECK leat_status jinja_dict_copy(jinja_env *env, const jinja_dict *from, jinja_dict *into);
/* The value of a text key, MISSING when there is none; never fails. */
jinja_value jinja_dict_find(const jinja_dict *dict, const char *key, uint64_t count);
/* The next entry from *at on, NULL at the end. */
const jinja_entry *jinja_dict_next(const jinja_dict *dict, uint64_t *at);

/* ---- meaning: jinja_compare.c ---- */

const char *jinja_type_name(jinja_value v);
MUST_CHECK leat_status jinja_raise_undefined(jinja_env *env, jinja_value v);
/* Raises when v is undefined. */
MUST_CHECK leat_status jinja_need_defined(jinja_env *env, jinja_value v);
MUST_CHECK leat_status jinja_truth(jinja_env *env, jinja_value v, bool *out);
MUST_CHECK leat_status jinja_length(jinja_env *env, jinja_value v, uint64_t *out);
MUST_CHECK leat_status jinja_equal(jinja_env *env, jinja_value a, jinja_value b, bool *out);
MUST_CHECK leat_status jinja_less(jinja_env *env, jinja_value a, jinja_value b, const char *sign, bool *out);
MUST_CHECK leat_status jinja_compare(jinja_env *env, const char *sign, jinja_value a, jinja_value b, bool *out);
MUST_CHECK leat_status jinja_contains(jinja_env *env, jinja_value item, jinja_value container, bool *out);
MUST_CHECK leat_status jinja_hash(jinja_env *env, jinja_value v, uint64_t *out);
/* Python's sorted(): stable. `keys` are compared, `items` moved with them. */
MUST_CHECK leat_status jinja_sort(jinja_env *env, jinja_value *keys, jinja_value *items, uint64_t count,
                                  bool is_reverse);

/* ---- numbers: jinja_number.c ---- */

MUST_CHECK leat_status jinja_arithmetic(jinja_env *env, char op, jinja_value a, jinja_value b, jinja_value *out);
MUST_CHECK leat_status jinja_negate(jinja_env *env, jinja_value v, jinja_value *out);
MUST_CHECK leat_status jinja_int_of_digits(jinja_env *env, const char *text, uint64_t count, uint32_t base,
                                           jinja_value *out);
MUST_CHECK leat_status jinja_to_double(jinja_env *env, jinja_value v, double *out);
/* The index as Python takes it: int or bool that fits 64 bits. */
MUST_CHECK leat_status jinja_to_index(jinja_env *env, jinja_value v, int64_t *out);
MUST_CHECK leat_status jinja_int_of_double(jinja_env *env, double real, jinja_value *out);
bool jinja_number_order(jinja_value a, jinja_value b, int *out); /* false: not ordered (NaN) */
enum { JINJA_FLOAT_TEXT_BYTES = 40 };
void jinja_float_text(double real, char out[JINJA_FLOAT_TEXT_BYTES]); /* Python's repr */
MUST_CHECK leat_status jinja_round(jinja_env *env, jinja_value v, int64_t digits, jinja_value *out);

/* a op b for any values; op as in jinja_node.h: jinja_eval.c. */
MUST_CHECK leat_status jinja_binary(jinja_env *env, char op, jinja_value a, jinja_value b, jinja_value *out);

/* ---- iteration: jinja_iterate.c ---- */

/* Raises "object is not iterable". */
MUST_CHECK leat_status jinja_iterate(jinja_env *env, jinja_value v, jinja_iter **out);
MUST_CHECK leat_status jinja_next(jinja_env *env, jinja_iter *iter, jinja_value *out, bool *out_has);
MUST_CHECK leat_status jinja_to_list(jinja_env *env, jinja_value v, jinja_list **out);
MUST_CHECK leat_status jinja_new_iter(jinja_env *env, jinja_next_fn *next, void *state, jinja_value source,
                                      jinja_value *out);
uint64_t jinja_range_count(const jinja_range *r);

/* ---- text of values: jinja_repr.c, jinja_tojson.c, jinja_json.c, jinja_percent.c, jinja_spec.c ---- */

MUST_CHECK leat_status jinja_append_str(jinja_builder *b, jinja_value v);
MUST_CHECK leat_status jinja_append_repr(jinja_builder *b, jinja_value v);
MUST_CHECK leat_status jinja_to_string(jinja_env *env, jinja_value v, jinja_value *out);
MUST_CHECK leat_status jinja_escape(jinja_env *env, jinja_value v, jinja_value *out);
jinja_run_fn jinja_filter_tojson;
/* `is_fixed`: its lists and dictionaries may not be changed. */
MUST_CHECK leat_status jinja_of_json(jinja_env *env, const char *name, const char *text, uint64_t bytes, bool is_data,
                                     bool is_fixed, jinja_value *out);
MUST_CHECK leat_status jinja_percent(jinja_env *env, jinja_string *format, jinja_value values, jinja_value *out);
MUST_CHECK leat_status jinja_str_format(jinja_env *env, jinja_string *format, const jinja_arguments *args,
                                        jinja_value *out);

typedef struct jinja_spec {
    const char *fill; /* one character */
    uint64_t fill_bytes, width;
    int32_t precision; /* -1: none */
    char align, sign, grouping, type;
    bool is_alternate, is_zero, is_default_align;
} jinja_spec;
/* Writes a number or text by a specification, as format() and % do. */
MUST_CHECK leat_status jinja_append_spec(jinja_builder *b, const jinja_spec *spec, jinja_value v);

/* ---- access and calls: jinja_access.c, jinja_call.c ---- */

MUST_CHECK leat_status jinja_get_attribute(jinja_env *env, jinja_value object, const jinja_string *name,
                                           jinja_value *out);
MUST_CHECK leat_status jinja_get_item(jinja_env *env, jinja_value object, jinja_value key, jinja_value *out);
/* object[key] alone, no attributes; MISSING when there is none. */
MUST_CHECK leat_status jinja_subscript(jinja_env *env, jinja_value object, jinja_value key, jinja_value *out);
MUST_CHECK leat_status jinja_slice(jinja_env *env, jinja_value object, const jinja_value bounds[3], jinja_value *out);
MUST_CHECK leat_status jinja_run_builtin(jinja_env *env, const jinja_builtin *builtin, jinja_value self,
                                         const jinja_arguments *args, jinja_value *out);
MUST_CHECK leat_status jinja_call(jinja_env *env, jinja_value callee, const jinja_arguments *args, jinja_value *out);
MUST_CHECK leat_status jinja_bind(jinja_env *env, const jinja_builtin *builtin, jinja_value self, jinja_value *out);
/* The macro's and the loop's own ways to be called: jinja_exec.c. */
MUST_CHECK leat_status jinja_call_macro(jinja_env *env, const jinja_macro *macro, const jinja_arguments *args,
                                        jinja_value *out);
MUST_CHECK leat_status jinja_call_loop(jinja_env *env, const jinja_loop *loop, const jinja_arguments *args,
                                       jinja_value *out);
MUST_CHECK leat_status jinja_loop_attribute(jinja_env *env, jinja_loop *loop, const jinja_string *name,
                                            jinja_value *out);
MUST_CHECK leat_status jinja_loop_length(jinja_env *env, jinja_loop *loop, uint64_t *out);
MUST_CHECK leat_status jinja_macro_attribute(jinja_env *env, const jinja_macro *macro, const jinja_string *name,
                                             jinja_value *out);

/* ---- what a template can name ---- */

const jinja_builtin *jinja_find_filter(const char *name, uint64_t bytes);
const jinja_builtin *jinja_find_test(const char *name, uint64_t bytes);
const jinja_builtin *jinja_find_global(const char *name, uint64_t bytes);
const jinja_builtin *jinja_find_method(jinja_value object, const char *name, uint64_t bytes);
const jinja_builtin *jinja_find_in(const jinja_builtin *table, uint64_t count, const char *name, uint64_t bytes);

#endif
