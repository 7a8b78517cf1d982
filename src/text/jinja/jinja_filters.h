/* jinja_filters.h - the three tables of filters, and the attributes that several of them take. */
#ifndef TEXT_JINJA_FILTERS_H
#define TEXT_JINJA_FILTERS_H

#include "text/jinja/jinja_methods.h"

/* item[path]: "a.b.0", an index, or MISSING / none for the item itself. `otherwise` (MISSING, none: nothing) stands in
 * for what any step does not find. */
MUST_CHECK leat_status jinja_item_attribute(jinja_env *env, jinja_value item, jinja_value path, jinja_value otherwise,
                                            jinja_value *out);
/* What sorting compares: texts in lower case unless `is_case_sensitive`. */
MUST_CHECK leat_status jinja_sort_key(jinja_env *env, jinja_value v, bool is_case_sensitive, jinja_value *out);

const jinja_builtin *jinja_find_text_filter(const char *name, uint64_t bytes);
const jinja_builtin *jinja_find_lazy_filter(const char *name, uint64_t bytes);

#endif
