/* jinja_json.c - JSON text to values: the variables of a rendering, and the filter from_json. */
#include "text/jinja/jinja_value.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct reading {
    jinja_env *env;
    json *parser;
    bool is_data, is_fixed;
} reading;

static leat_status next(reading *r, json_token *out)
{
    leat_status status = json_next(r->parser, out, r->env->error);
    if (status != LEAT_OK) r->env->fault = status == LEAT_MODEL ? JINJA_VALUE : JINJA_LIMIT;
    return status;
}

static leat_status read_number(reading *r, const json_token *token, jinja_value *out)
{
    bool is_int = true;
    double real;
    for (size_t i = 0; i < token->text_bytes; i++)
        is_int = is_int && (token->text[i] == '-' || (token->text[i] >= '0' && token->text[i] <= '9'));
    if (is_int) return jinja_int_of_digits(r->env, token->text, token->text_bytes, 10, out);
    if (!json_to_f64(token, &real)) return RAISE(r->env, VALUE, "a number of the JSON text is out of range");
    *out = jinja_float(real);
    return LEAT_OK;
}

static leat_status read_value(reading *r, const json_token *token, jinja_value *out);

static leat_status read_array(reading *r, jinja_value *out)
{
    json_token token;
    jinja_value item;
    *out = (jinja_value){.kind = JV_LIST};
    TRY(jinja_new_list(r->env, 0, &out->list));
    out->list->is_fixed = r->is_fixed;
    for (;;) {
        TRY(next(r, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_value(r, &token, &item));
        TRY(jinja_push(r->env, out->list, item));
    }
}

static leat_status read_object(reading *r, jinja_value *out)
{
    json_token token;
    jinja_value key, value;
    *out = (jinja_value){.kind = JV_DICT};
    TRY(jinja_new_dict(r->env, &out->dict));
    out->dict->is_fixed = r->is_fixed;
    for (;;) {
        TRY(next(r, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        TRY(jinja_new_string(r->env, token.text, token.text_bytes, r->is_data, &key));
        TRY(next(r, &token));
        TRY(read_value(r, &token, &value));
        TRY(jinja_dict_set(r->env, out->dict, key, value));
    }
}

/* Depth is bounded by the parser. */
static leat_status read_value(reading *r, const json_token *token, jinja_value *out)
{
    switch (token->kind) {
    case JSON_OBJECT_BEGIN: return read_object(r, out);
    case JSON_ARRAY_BEGIN: return read_array(r, out);
    case JSON_STRING: return jinja_new_string(r->env, token->text, token->text_bytes, r->is_data, out);
    case JSON_NUMBER: return read_number(r, token, out);
    case JSON_TRUE:
    case JSON_FALSE: *out = jinja_bool(token->kind == JSON_TRUE); return LEAT_OK;
    default: *out = jinja_none(); return LEAT_OK;
    }
}

static leat_status read_document(reading *r, jinja_value *out)
{
    json_token token;
    TRY(next(r, &token));
    TRY(read_value(r, &token, out));
    return next(r, &token); /* the end: anything else is refused by the parser */
}

leat_status jinja_of_json(jinja_env *env, const char *name, const char *text, uint64_t bytes, bool is_data,
                          bool is_fixed, jinja_value *out)
{
    reading r = {.env = env, .is_data = is_data, .is_fixed = is_fixed};
    json_limits limits = {
        .depth_max = JSON_DEPTH_MAX, .string_bytes_max = env->limits->output_bytes_max, .allow_nonfinite = true};
    leat_status status =
        json_open(env->values.ledger, MEM_TOKENIZER, name, text, bytes, &limits, &r.parser, env->error);
    if (status != LEAT_OK) {
        env->fault = JINJA_LIMIT;
        return status;
    }
    status = read_document(&r, out);
    json_close(&r.parser);
    return status;
}
