/*
 * json_value.h - the JSON of requests: Jansson behind limits, and typed questions that blame a field by its path.
 *
 * A request is parsed whole. Rejected: what is not RFC 8259, nesting deeper than JSON_VALUE_DEPTH_MAX, more than
 * JSON_VALUE_COUNT_MAX values, duplicate keys, U+0000, numbers that neither an int64 nor a finite double can hold. A
 * *view* is a value with the path that leads to it ("messages[2].content"). Questions to a member that is absent, or
 * null, leave *out alone and succeed; a value of the wrong type or out of range fails with 400 and the path as `param`.
 * Members that nobody asks for are ignored.
 *
 * Lifetimes: views and texts live as long as the document. Jansson's memory is taken from the ledger given to
 * json_value_setup, for the whole process; it is called once before anything else here, and again with NULL after the
 * last document was closed.
 * Threads: any; one document belongs to one thread at a time.
 */
#ifndef SERVER_JSON_VALUE_H
#define SERVER_JSON_VALUE_H

#include "server/api_error.h"

#include <jansson.h>

/* A value of two bytes in a body becomes some hundred in memory: their number is what bounds a request's. */
enum { JSON_VALUE_DEPTH_MAX = 64, JSON_VALUE_COUNT_MAX = 1 << 18 };

typedef struct json_view {
    json_t *value; /* NULL: absent or null; borrowed */
    char path[API_PARAM_BYTES];
} json_view;

void json_value_setup(mem *ledger);
/* The document must be an object. Closed with json_decref. */
bool json_value_parse(const char *text, size_t bytes, json_t **out_document, api_error *error);
/* Any one value, such as the arguments of a call; NULL when it is none. */
json_t *json_value_parse_any(const char *text, size_t bytes);
/* Appends the value as compact JSON. */
MUST_CHECK leat_status json_value_write(const json_t *value, strbuf *text, leat_error *error);

json_view json_view_of(json_t *document);
json_view json_view_member(const json_view *object, const char *name);
json_view json_view_element(const json_view *array, size_t idx);

/* The view's own value; false when it is there and of another type or out of range. */
bool json_view_u32(const json_view *v, uint32_t min, uint32_t max, uint32_t *out, api_error *error);
bool json_view_i64(const json_view *v, int64_t min, int64_t max, int64_t *out, api_error *error);
bool json_view_single(const json_view *v, double min, double max, float *out, api_error *error);
bool json_view_text(const json_view *v, const char **out, api_error *error);

/* The member of an object. */
bool json_field_flag(const json_view *object, const char *name, bool *out, api_error *error);
bool json_field_u32(const json_view *object, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                    api_error *error);
bool json_field_i64(const json_view *object, const char *name, int64_t min, int64_t max, int64_t *out,
                    api_error *error);
bool json_field_single(const json_view *object, const char *name, double min, double max, float *out, api_error *error);
bool json_field_text(const json_view *object, const char *name, const char **out, api_error *error);
/* out->value is NULL when the member is absent. */
bool json_field_object(const json_view *object, const char *name, json_view *out, api_error *error);
bool json_field_array(const json_view *object, const char *name, size_t count_max, json_view *out, api_error *error);

/* Blames the view for being of another type than `expected` ("a string"). */
bool json_view_wrong_type(const json_view *v, const char *expected, api_error *error);

#endif
