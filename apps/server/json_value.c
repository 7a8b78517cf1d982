#include "server/json_value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static mem *jansson_ledger;

/* Jansson's hooks know no user pointer. */
static void *take(size_t bytes)
{
    void *block = NULL;
    return mem_alloc(jansson_ledger, MEM_META, bytes, 1, 0, "JSON of a request", &block, NULL) == LEAT_OK ? block
                                                                                                          : NULL;
}

static void give(void *block) { mem_free(jansson_ledger, block); }

void json_value_setup(mem *ledger)
{
    size_t seed = 0;
    jansson_ledger = ledger;
    if (!ledger) return;
    json_set_alloc_funcs(take, give);
    /* An unknown seed, so that nobody can send keys that all fall into one bucket. Jansson's own would open
     * /dev/urandom, which a sandbox may forbid. A second call changes nothing. */
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed && seed != 0) json_object_seed(seed);
}

/* What Jansson would build before anyone can look at it. Its own limit of 2048 levels is one recursion each. */
typedef struct json_extent {
    size_t too_deep_at; /* offset of the first bracket that opens too deep a level; `bytes` without one */
    size_t value_count; /* at most */
} json_extent;

static json_extent measure(const char *text, size_t bytes)
{
    json_extent extent = {.too_deep_at = bytes, .value_count = 1};
    uint32_t depth = 0;
    bool is_string = false;
    for (size_t at = 0; at < bytes; at++) {
        char c = text[at];
        if (is_string) {
            if (c == '\\')
                at++;
            else
                is_string = c != '"';
        } else if (c == '"') {
            is_string = true;
        } else if (c == '{' || c == '[') {
            extent.value_count++;
            if (++depth > JSON_VALUE_DEPTH_MAX && extent.too_deep_at == bytes) extent.too_deep_at = at;
        } else if (c == '}' || c == ']') {
            if (depth > 0) depth--;
        } else if (c == ',') {
            extent.value_count++;
        }
    }
    return extent;
}

bool json_value_parse(const char *text, size_t bytes, json_t **out_document, api_error *error)
{
    json_error_t where;
    json_extent extent = measure(text, bytes);
    if (extent.too_deep_at < bytes)
        return api_fail(error, API_INVALID_JSON, NULL, "The JSON is nested deeper than %d levels at byte %zu.",
                        JSON_VALUE_DEPTH_MAX, extent.too_deep_at);
    if (extent.value_count > JSON_VALUE_COUNT_MAX)
        return api_fail(error, API_OUT_OF_RANGE, NULL, "The JSON has more than %d values.", JSON_VALUE_COUNT_MAX);
    json_t *document = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!document && json_error_code(&where) == json_error_out_of_memory)
        return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
    if (!document)
        return api_fail(error, API_INVALID_JSON, NULL, "The body is not valid JSON: %s (line %d, column %d, byte %d).",
                        where.text, where.line, where.column, where.position);
    if (!json_is_object(document)) {
        json_decref(document);
        return api_fail(error, API_INVALID_TYPE, NULL, "The body must be a JSON object.");
    }
    *out_document = document;
    return true;
}

json_t *json_value_parse_any(const char *text, size_t bytes)
{
    json_extent extent = measure(text, bytes);
    if (extent.too_deep_at < bytes || extent.value_count > JSON_VALUE_COUNT_MAX) return NULL;
    return json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

static int append_piece(const char *bytes, size_t count, void *user)
{
    return strbuf_append(user, bytes, count, NULL) == LEAT_OK ? 0 : -1;
}

leat_status json_value_write(const json_t *value, strbuf *text, leat_error *error)
{
    if (json_dump_callback(value, append_piece, text, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        return FAIL(error, NO_MEMORY, "no memory for a request's JSON");
    return LEAT_OK;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static json_t *not_null(json_t *value) { return json_is_null(value) ? NULL : value; }

json_view json_view_of(json_t *document) { return (json_view){.value = document}; }

json_view json_view_member(const json_view *object, const char *name)
{
    json_view v = {.value = not_null(json_object_get(object->value, name))};
    /* A path that is too long is cut; it is only shown. */
    snprintf(v.path, sizeof v.path, "%.60s%s%.32s", object->path, object->path[0] != '\0' ? "." : "", name);
    return v;
}

json_view json_view_element(const json_view *array, size_t idx)
{
    json_view v = {.value = not_null(json_array_get(array->value, idx))};
    snprintf(v.path, sizeof v.path, "%.70s[%zu]", array->path, idx);
    return v;
}

static const char *type_label(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    default: return "null";
    }
}

bool json_view_wrong_type(const json_view *v, const char *expected, api_error *error)
{
    return api_fail(error, API_INVALID_TYPE, v->path, "'%s' must be %s, not %s.", v->path, expected,
                    v->value ? type_label(v->value) : "null");
}

bool json_view_i64(const json_view *v, int64_t min, int64_t max, int64_t *out, api_error *error)
{
    int64_t number;
    if (!v->value) return true;
    if (json_is_integer(v->value)) {
        number = json_integer_value(v->value);
    } else {
        /* 3.0 is an integer to JSON; beyond 2^53 a double no longer says which. */
        double real = json_real_value(v->value);
        if (!json_is_real(v->value) || real != floor(real) || fabs(real) > 9007199254740992.0)
            return json_view_wrong_type(v, "an integer", error);
        number = (int64_t)real;
    }
    if (number < min || number > max)
        return api_fail(error, API_OUT_OF_RANGE, v->path, "'%s' is %lld; it must be between %lld and %lld.", v->path,
                        (long long)number, (long long)min, (long long)max);
    *out = number;
    return true;
}

bool json_view_u32(const json_view *v, uint32_t min, uint32_t max, uint32_t *out, api_error *error)
{
    int64_t number = *out;
    if (!json_view_i64(v, min, max, &number, error)) return false;
    *out = (uint32_t)number;
    return true;
}

bool json_view_single(const json_view *v, double min, double max, float *out, api_error *error)
{
    if (!v->value) return true;
    if (!json_is_number(v->value)) return json_view_wrong_type(v, "a number", error);
    double number = json_number_value(v->value);
    if (!(number >= min && number <= max))
        return api_fail(error, API_OUT_OF_RANGE, v->path, "'%s' is %g; it must be between %g and %g.", v->path, number,
                        min, max);
    *out = (float)number;
    return true;
}

bool json_view_text(const json_view *v, const char **out, api_error *error)
{
    if (!v->value) return true;
    if (!json_is_string(v->value)) return json_view_wrong_type(v, "a string", error);
    *out = json_string_value(v->value);
    return true;
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

bool json_field_flag(const json_view *object, const char *name, bool *out, api_error *error)
{
    json_view v = json_view_member(object, name);
    if (!v.value) return true;
    if (!json_is_boolean(v.value)) return json_view_wrong_type(&v, "a boolean", error);
    *out = json_is_true(v.value);
    return true;
}

bool json_field_u32(const json_view *object, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                    api_error *error)
{
    json_view v = json_view_member(object, name);
    return json_view_u32(&v, min, max, out, error);
}

bool json_field_i64(const json_view *object, const char *name, int64_t min, int64_t max, int64_t *out, api_error *error)
{
    json_view v = json_view_member(object, name);
    return json_view_i64(&v, min, max, out, error);
}

bool json_field_single(const json_view *object, const char *name, double min, double max, float *out, api_error *error)
{
    json_view v = json_view_member(object, name);
    return json_view_single(&v, min, max, out, error);
}

bool json_field_text(const json_view *object, const char *name, const char **out, api_error *error)
{
    json_view v = json_view_member(object, name);
    return json_view_text(&v, out, error);
}

bool json_field_object(const json_view *object, const char *name, json_view *out, api_error *error)
{
    *out = json_view_member(object, name);
    return !out->value || json_is_object(out->value) || json_view_wrong_type(out, "an object", error);
}

bool json_field_array(const json_view *object, const char *name, size_t count_max, json_view *out, api_error *error)
{
    *out = json_view_member(object, name);
    if (!out->value) return true;
    if (!json_is_array(out->value)) return json_view_wrong_type(out, "an array", error);
    if (json_array_size(out->value) > count_max)
        return api_fail(error, API_OUT_OF_RANGE, out->path, "'%s' has %zu entries; at most %zu are allowed.", out->path,
                        json_array_size(out->value), count_max);
    return true;
}
