/* tool_types.c - reads schemas on text that the scanner has passed; only what decides how a bare value is written. */
#include "text/answer/tool_types.h"

#include "text/answer/python_value.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* ---- schemas -------------------------------------------------------------------------------------------------- */

static unsigned named_type(json_span name)
{
    static const struct {
        const char *name;
        unsigned type;
    } rows[] = {{"string", TOOL_STRING}, {"number", TOOL_NUMBER}, {"integer", TOOL_NUMBER}, {"boolean", TOOL_BOOLEAN},
                {"null", TOOL_NULL},     {"object", TOOL_OBJECT}, {"array", TOOL_ARRAY},    {"float", TOOL_NUMBER},
                {"int", TOOL_NUMBER},    {"bool", TOOL_BOOLEAN},  {"str", TOOL_STRING},     {"list", TOOL_ARRAY},
                {"dict", TOOL_OBJECT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (json_span_says(name, rows[i].name)) return rows[i].type;
    return 0;
}

static unsigned value_type(json_span value)
{
    switch (value.text[0]) {
    case '"': return TOOL_STRING;
    case 't':
    case 'f': return TOOL_BOOLEAN;
    case 'n': return TOOL_NULL;
    case '{': return TOOL_OBJECT;
    case '[': return TOOL_ARRAY;
    default: return TOOL_NUMBER;
    }
}

static unsigned listed_types(json_span list, unsigned (*type_of)(json_span))
{
    unsigned types = 0;
    json_span key, value;
    if (!json_span_is(list, '[')) return 0;
    for (uint64_t at = 0; json_span_next(list, &at, &key, &value);) types |= type_of(value);
    return types;
}

static unsigned plain_types(json_span schema)
{
    unsigned types = 0;
    json_span value;
    if (json_span_member(schema, "type", &value))
        types = json_span_is(value, '[') ? listed_types(value, named_type) : named_type(value);
    else if (json_span_member(schema, "enum", &value))
        types = listed_types(value, value_type);
    if (types != 0 && json_span_member(schema, "nullable", &value) && json_span_is(value, 't')) types |= TOOL_NULL;
    return types;
}

/* Alternatives one level deep: what generators of schemas write for optional parameters. */
static unsigned schema_types(json_span schema)
{
    static const char *const unions[] = {"anyOf", "oneOf", "allOf"};
    unsigned types = plain_types(schema);
    json_span value;
    for (size_t i = 0; i < sizeof unions / sizeof *unions; i++)
        if (json_span_member(schema, unions[i], &value)) types |= listed_types(value, plain_types);
    return types;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

static leat_status grow(tool_types *t, void **block, uint64_t count, uint64_t *capacity, uint64_t each_bytes,
                        leat_error *error)
{
    if (count < *capacity) return LEAT_OK;
    uint64_t wanted = max_u64(8, *capacity * 2);
    TRY(mem_resize(t->ledger, MEM_TOKENIZER, block, wanted, each_bytes, "types of tools", error));
    *capacity = wanted;
    return LEAT_OK;
}

static leat_status add_name(tool_types *t, json_span string, uint64_t *out_at, uint64_t *out_bytes, leat_error *error)
{
    *out_at = t->names.count;
    TRY(json_span_decode(string, &t->names, error));
    *out_bytes = t->names.count - *out_at;
    return LEAT_OK;
}

static leat_status add_parameter(tool_types *t, json_span key, json_span schema, leat_error *error)
{
    void *block = t->parameters;
    leat_status status = grow(t, &block, t->parameter_count, &t->parameter_capacity, sizeof *t->parameters, error);
    t->parameters = block;
    if (status != LEAT_OK) return status;
    tool_parameter *parameter = &t->parameters[t->parameter_count];
    *parameter = (tool_parameter){.types = schema_types(schema)};
    TRY(add_name(t, key, &parameter->name_at, &parameter->name_bytes, error));
    t->parameter_count++;
    return LEAT_OK;
}

static int compare_names(const char *a, uint64_t a_bytes, const char *b, uint64_t b_bytes)
{
    uint64_t shared = min_u64(a_bytes, b_bytes);
    int order = shared > 0 ? memcmp(a, b, shared) : 0;
    if (order != 0) return order;
    return a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

typedef struct parameter_order {
    const char *names;
    tool_parameter *parameters;
} parameter_order;

static bool is_before(const parameter_order *o, uint64_t a, uint64_t b)
{
    const tool_parameter *x = &o->parameters[a], *y = &o->parameters[b];
    return compare_names(o->names + x->name_at, x->name_bytes, o->names + y->name_at, y->name_bytes) < 0;
}

static void sift_down(const parameter_order *o, uint64_t root, uint64_t count)
{
    for (uint64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && is_before(o, child, child + 1)) child++;
        if (!is_before(o, root, child)) return;
        tool_parameter kept = o->parameters[root];
        o->parameters[root] = o->parameters[child];
        o->parameters[child] = kept;
    }
}

/* A heap sort: names lie in a buffer of their own, which qsort's comparison could not see. */
static void sort_parameters(const tool_types *t, uint64_t first, uint64_t count)
{
    parameter_order o = {t->names.bytes, t->parameters + first};
    for (uint64_t i = count / 2; i > 0; i--) sift_down(&o, i - 1, count);
    for (uint64_t end = count; end > 1; end--) {
        tool_parameter kept = o.parameters[0];
        o.parameters[0] = o.parameters[end - 1];
        o.parameters[end - 1] = kept;
        sift_down(&o, 0, end - 1);
    }
}

static leat_status read_inside(tool_types *t, uint64_t index, json_span schema, leat_error *error);

/* The properties of a schema, next to each other, and behind them what is inside of each. Text that the scanner has
 * passed is at most JSON_SPAN_DEPTH_MAX deep, and so is this. */
static leat_status read_properties(tool_types *t, json_span schema, uint64_t *out_first, uint64_t *out_count,
                                   leat_error *error)
{
    json_span properties, key, value;
    uint64_t first = t->parameter_count, index = first;
    if (!json_span_member(schema, "properties", &properties) || !json_span_is(properties, '{')) return LEAT_OK;
    for (uint64_t at = 0; json_span_next(properties, &at, &key, &value);) TRY(add_parameter(t, key, value, error));
    *out_first = first;
    *out_count = t->parameter_count - first;
    for (uint64_t at = 0; json_span_next(properties, &at, &key, &value);) TRY(read_inside(t, index++, value, error));
    sort_parameters(t, first, *out_count);
    return LEAT_OK;
}

static leat_status read_inside(tool_types *t, uint64_t index, json_span schema, leat_error *error)
{
    json_span items;
    uint64_t first = 0, count = 0, item = 0;
    TRY(read_properties(t, schema, &first, &count, error));
    if (json_span_member(schema, "items", &items) && json_span_is(items, '{')) {
        item = t->parameter_count;
        TRY(add_parameter(t, (json_span){"\"\"", 2}, items, error));
        TRY(read_inside(t, item, items, error));
    }
    t->parameters[index].first = first;
    t->parameters[index].count = count;
    t->parameters[index].item = item;
    return LEAT_OK;
}

static leat_status read_schema(tool_types *t, json_span function, tool_entry *entry, leat_error *error)
{
    json_span schema;
    if (!json_span_member(function, "parameters", &schema) && !json_span_member(function, "input_schema", &schema))
        return LEAT_OK;
    return read_properties(t, schema, &entry->first, &entry->count, error);
}

static leat_status read_tool(tool_types *t, json_span tool, leat_error *error)
{
    json_span function = tool, name;
    void *block = t->tools;
    if (!json_span_is(tool, '{')) return FAIL(error, USAGE, "tools: an element is not an object");
    json_span_member(tool, "function", &function);
    if (!json_span_member(function, "name", &name) || !json_span_is(name, '"')) return LEAT_OK;
    leat_status status = grow(t, &block, t->tool_count, &t->tool_capacity, sizeof *t->tools, error);
    t->tools = block;
    if (status != LEAT_OK) return status;
    tool_entry entry = {0};
    TRY(add_name(t, name, &entry.name_at, &entry.name_bytes, error));
    TRY(read_schema(t, function, &entry, error));
    t->tools[t->tool_count++] = entry;
    return LEAT_OK;
}

leat_status tool_types_read(tool_types *types, const char *json, uint64_t bytes, leat_error *error)
{
    json_span list = json_span_trim(json, bytes), key, value;
    if (!json_span_is_value(list.text, list.count)) return FAIL(error, USAGE, "tools: the text is not JSON");
    if (json_span_is(list, 'n')) return LEAT_OK;
    if (!json_span_is(list, '[')) return FAIL(error, USAGE, "tools: expected a list");
    text_buffer_init(&types->names, types->ledger);
    TRY(text_buffer_append(&types->names, "", 0, error));
    for (uint64_t at = 0; json_span_next(list, &at, &key, &value);) TRY(read_tool(types, value, error));
    return LEAT_OK;
}

void tool_types_reset(tool_types *types)
{
    if (types->names.ledger) text_buffer_reset(&types->names);
    mem_free(types->ledger, types->tools);
    mem_free(types->ledger, types->parameters);
    *types = (tool_types){.ledger = types->ledger};
}

const tool_entry *tool_types_find(const tool_types *types, const char *name, uint64_t bytes)
{
    for (uint64_t i = types->tool_count; i > 0; i--) {
        const tool_entry *tool = &types->tools[i - 1];
        if (compare_names(types->names.bytes + tool->name_at, tool->name_bytes, name, bytes) == 0) return tool;
    }
    return NULL;
}

static const tool_parameter *find_in(const tool_types *types, uint64_t first, uint64_t count, const char *name,
                                     uint64_t bytes)
{
    uint64_t low = first, high = first + count;
    while (low < high) {
        const tool_parameter *p = &types->parameters[low + (high - low) / 2];
        int order = compare_names(types->names.bytes + p->name_at, p->name_bytes, name, bytes);
        if (order == 0) return p;
        if (order < 0)
            low = (uint64_t)(p - types->parameters) + 1;
        else
            high = (uint64_t)(p - types->parameters);
    }
    return NULL;
}

const tool_parameter *tool_types_parameter(const tool_types *types, const tool_entry *tool, const char *name,
                                           uint64_t bytes)
{
    return tool ? find_in(types, tool->first, tool->count, name, bytes) : NULL;
}

bool tool_types_of(const tool_types *types, const tool_entry *tool, const char *name, uint64_t bytes,
                   unsigned *out_types)
{
    const tool_parameter *p = tool_types_parameter(types, tool, name, bytes);
    if (p) *out_types = p->types;
    return p != NULL;
}

const tool_parameter *tool_types_property(const tool_types *types, const tool_parameter *of, const char *name,
                                          uint64_t bytes)
{
    return of ? find_in(types, of->first, of->count, name, bytes) : NULL;
}

const tool_parameter *tool_types_item(const tool_types *types, const tool_parameter *of)
{
    return of && of->item > 0 ? &types->parameters[of->item] : NULL;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static bool says_any_case(json_span text, const char *word)
{
    if (text.count != strlen(word)) return false;
    for (uint64_t i = 0; i < text.count; i++) {
        char c = text.text[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c) != word[i]) return false;
    }
    return true;
}

/* What a bare word means to a parameter that is not a string, or NULL. Python's spelling is what templates print. */
static const char *word_value(json_span text, unsigned types)
{
    if ((types == 0 || types & TOOL_BOOLEAN) && says_any_case(text, "true")) return "true";
    if ((types == 0 || types & TOOL_BOOLEAN) && says_any_case(text, "false")) return "false";
    bool may_be_null = types & TOOL_NULL || !(types & TOOL_STRING);
    if (may_be_null && (says_any_case(text, "null") || says_any_case(text, "none"))) return "null";
    return NULL;
}

static bool is_wanted(json_span value, unsigned types)
{
    if (!json_span_is_value(value.text, value.count)) return false;
    unsigned type = value_type(value);
    if (types == 0) return type != TOOL_STRING;
    if (type == TOOL_NUMBER && types & TOOL_STRING) return false; /* "12" may be meant as it stands */
    if (type & TOOL_STRUCTURE) return (types & TOOL_STRUCTURE) != 0;
    return (type & types & TOOL_NUMBER) != 0;
}

/* Objects and lists as Python prints them: templates do that where they do not ask for JSON. */
static leat_status write_python(json_span value, text_buffer *out, bool *out_is_good, leat_error *error)
{
    text_buffer scratch;
    uint64_t before = out->count;
    text_buffer_init(&scratch, out->ledger);
    leat_status status = text_buffer_append(&scratch, "", 0, error);
    python_text python = {.text = value.text, .end = value.count, .out = out, .scratch = &scratch};
    if (status == LEAT_OK) status = python_value_copy(&python, 0, out_is_good, error);
    text_buffer_reset(&scratch);
    *out_is_good = status == LEAT_OK && *out_is_good && python.at == python.end;
    if (*out_is_good || status != LEAT_OK) return status;
    out->count = before;
    return text_buffer_append(out, "", 0, error); /* so that the text ends there */
}

leat_status tool_value_write(json_span text, unsigned types, text_buffer *out, leat_error *error)
{
    json_span value = json_span_trim(text.text, text.count);
    const char *word = word_value(value, types);
    if (!word && types & TOOL_TRUTH) word = "false";
    if (word) return text_buffer_append(out, word, strlen(word), error);
    if (is_wanted(value, types)) return json_span_copy(value, out, error);
    bool is_literal = false;
    bool may_be_literal = types & TOOL_STRUCTURE && (json_span_is(value, '{') || json_span_is(value, '['));
    if (may_be_literal) TRY(write_python(value, out, &is_literal, error));
    if (is_literal) return LEAT_OK;
    return json_span_quote(text.text, text.count, out, error);
}
