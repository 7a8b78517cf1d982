/* jinja_frame.h - the scopes of a running template and the pieces of the interpreter that need them. */
#ifndef TEXT_JINJA_FRAME_H
#define TEXT_JINJA_FRAME_H

#include "text/jinja/jinja_node.h"

typedef struct jinja_slot {
    uint32_t name;
    jinja_value value;
} jinja_slot;

/* One scope: the template's own (by_name: a place for every name), or that of a loop, macro, with, ... */
struct jinja_frame {
    jinja_frame *parent;
    jinja_value *by_name;
    jinja_slot *slots;
    uint32_t count, capacity;
};

struct jinja_macro {
    const jinja_node *node;
    jinja_frame *frame; /* where it was defined */
};

MUST_CHECK leat_status jinja_new_frame(jinja_env *env, jinja_frame *parent, jinja_frame **out);
MUST_CHECK leat_status jinja_set_name(jinja_env *env, jinja_frame *frame, uint32_t name, jinja_value value);
/* What a name is that was never set. */
jinja_value jinja_unset(const jinja_env *env, uint32_t name);
MUST_CHECK leat_status jinja_eval(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_value *out);
MUST_CHECK leat_status jinja_eval_arguments(jinja_env *env, jinja_frame *frame, const jinja_call_parts *call,
                                            const jinja_named *extra, jinja_arguments *out);
/* Applies filters to what a block wrote. */
MUST_CHECK leat_status jinja_eval_filters(jinja_env *env, jinja_frame *frame, const jinja_node *filters,
                                          jinja_value input, jinja_value *out);

#endif
