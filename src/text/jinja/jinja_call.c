/* jinja_call.c - calling what can be called, and giving arguments to builtin functions. */
#include "text/jinja/jinja_value.h"

#include <string.h>

leat_status jinja_bind(jinja_env *env, const jinja_builtin *builtin, jinja_value self, jinja_value *out)
{
    jinja_bound *bound;
    TRY(JINJA_NEW(env, 1, &bound));
    *bound = (jinja_bound){builtin, self};
    *out = (jinja_value){.kind = JV_FUNCTION, .bound = bound};
    return LEAT_OK;
}

const jinja_builtin *jinja_find_in(const jinja_builtin *table, uint64_t count, const char *name, uint64_t bytes)
{
    for (uint64_t i = 0; i < count; i++) {
        if (strlen(table[i].name) == bytes && memcmp(table[i].name, name, bytes) == 0) return &table[i];
    }
    return NULL;
}

/* The place of a parameter in "a b c", -1 when there is none of that name. */
static int parameter_place(const char *parameters, const jinja_string *name)
{
    int place = 0;
    for (const char *at = parameters; *at != '\0'; place++) {
        size_t count = strcspn(at, " ");
        if (count == name->count && memcmp(at, name->bytes, count) == 0) return place;
        at += count + (at[count] == ' ');
    }
    return -1;
}

static uint32_t parameter_count(const char *parameters)
{
    uint32_t count = parameters[0] != '\0';
    for (const char *at = parameters; *at != '\0'; at++) count += *at == ' ';
    return count;
}

static leat_status place_arguments(jinja_env *env, const jinja_builtin *builtin, const jinja_arguments *args,
                                   jinja_value given[JINJA_PARAMETERS_MAX])
{
    uint32_t count = parameter_count(builtin->parameters);
    if (args->count > count)
        return RAISE(env, TYPE, "%s() takes at most %u arguments (%u given)", builtin->name, count, args->count);
    for (uint32_t i = 0; i < args->count; i++) given[i] = args->values[i];
    for (uint32_t i = 0; i < args->named_count; i++) {
        int place = parameter_place(builtin->parameters, args->named[i].name);
        if (place < 0)
            return RAISE(env, TYPE, "%s() got an unexpected keyword argument '%.*s'", builtin->name,
                         (int)(args->named[i].name->count > 100 ? 100 : args->named[i].name->count),
                         args->named[i].name->bytes);
        if (jinja_is_given(given[place]))
            return RAISE(env, TYPE, "%s() got multiple values for an argument", builtin->name);
        given[place] = args->named[i].value;
    }
    for (uint32_t i = 0; i < builtin->required; i++) {
        if (!jinja_is_given(given[i])) return RAISE(env, TYPE, "%s() misses a required argument", builtin->name);
    }
    return LEAT_OK;
}

leat_status jinja_run_builtin(jinja_env *env, const jinja_builtin *builtin, jinja_value self,
                              const jinja_arguments *args, jinja_value *out)
{
    jinja_value given[JINJA_PARAMETERS_MAX] = {0}, result = {0};
    TRY(jinja_charge(env, 1));
    TRY(jinja_enter(env));
    if (builtin->parameters != NULL) TRY(place_arguments(env, builtin, args, given));
    TRY(builtin->run(env, self, given, args, &result));
    jinja_leave(env);
    *out = result;
    return LEAT_OK;
}

leat_status jinja_call(jinja_env *env, jinja_value callee, const jinja_arguments *args, jinja_value *out)
{
    TRY(jinja_need_defined(env, callee));
    switch (callee.kind) {
    case JV_FUNCTION: return jinja_run_builtin(env, callee.bound->builtin, callee.bound->self, args, out);
    case JV_MACRO: return jinja_call_macro(env, callee.macro, args, out);
    case JV_LOOP: return jinja_call_loop(env, callee.loop, args, out);
    case JV_JOINER:
        *out = callee.turn->items;
        if (callee.turn->at++ > 0) return LEAT_OK;
        return jinja_literal(env, "", out);
    default: return RAISE(env, TYPE, "'%s' object is not callable", jinja_type_name(callee));
    }
}
