/* jinja_loop.h - running statements, and the state of a for loop, which templates see as `loop`. */
#ifndef TEXT_JINJA_LOOP_H
#define TEXT_JINJA_LOOP_H

#include "text/jinja/jinja_frame.h"

typedef enum jinja_flow { JINJA_ON, JINJA_BREAK, JINJA_CONTINUE } jinja_flow;

struct jinja_loop {
    const jinja_node *node;
    jinja_frame *outer; /* around the loop */
    jinja_frame *filter_frame;
    jinja_value source;
    jinja_iter *iter;
    jinja_value current, before, after; /* after: MISSING until it is looked at */
    jinja_value changed;
    int64_t index0;
    uint32_t depth;
};

MUST_CHECK leat_status jinja_exec(jinja_env *env, jinja_frame *frame, const jinja_nodes *body, jinja_flow *flow);
MUST_CHECK leat_status jinja_exec_for(jinja_env *env, jinja_frame *frame, const jinja_node *node, jinja_flow *flow);
MUST_CHECK leat_status jinja_assign(jinja_env *env, jinja_frame *frame, const jinja_node *target, jinja_value value);
/* Runs a body and gives what it wrote. */
MUST_CHECK leat_status jinja_capture(jinja_env *env, jinja_frame *frame, const jinja_nodes *body, jinja_flow *flow,
                                     jinja_value *out);
MUST_CHECK leat_status jinja_check_member_name(jinja_env *env, const jinja_string *name);

#endif
