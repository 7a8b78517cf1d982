/* jinja_methods.h - how the functions of filters and methods are written. */
#ifndef TEXT_JINJA_METHODS_H
#define TEXT_JINJA_METHODS_H

#include "text/jinja/jinja_text.h"

#define RUN(name)                                                                                                      \
    static leat_status name(jinja_env *env, jinja_value self, const jinja_value *given, const jinja_arguments *raw,    \
                            jinja_value *out)
#define UNUSED_ALL (void)env, (void)given, (void)raw

const jinja_builtin *jinja_find_text_method(const char *name, uint64_t bytes);

#endif
