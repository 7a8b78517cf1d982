/*
 * hf_config.c - questions to a config.json.
 *
 * Open turns the document into a list of values in document order. A value's `next` is the place after it and all it
 * holds, so a member or an element is found by hopping, and nothing is built or freed while questions are asked:
 *
 *     {"a": [1, 2], "b": 3}   ->   0 object(next 6)   1 key a   2 array(next 5)   3 1   4 2   5 key b   6 3
 *                                                                                    (object's next is 7: one past its
 * last value)
 *
 * Invariants: the root is value 0 and an object; after every key comes its value; `text` is terminated and lives in the
 * arena. Threads: any number once open has returned.
 */
#include "format/hf_config.h"

#include "base/bytes.h"
#include "format/excerpt.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CAPACITY = 256, TEXT_CHUNK_BYTES = 16 * 1024, CONFIG_DEPTH_MAX = 16, SHOWN_BYTES = 80 };

static const uint32_t none = UINT32_MAX; /* no such value */

typedef struct config_value {
    json_kind kind; /* never an END */
    uint32_t next;
    const char *text; /* KEY, STRING, NUMBER */
    uint32_t text_bytes;
} config_value;

struct hf_config {
    mem *ledger;
    arena memory; /* names and texts */
    const char *name;
    config_value *values; /* (capacity) */
    uint32_t count, capacity;
    uint32_t text_config; /* the object below the root, or none */
};

/* ---- building the list ---- */

static leat_status add_value(hf_config *config, const json_token *token, leat_error *error)
{
    if (config->count == HF_CONFIG_VALUES_MAX)
        return FAIL(error, MODEL, "%s: more than %d keys and values", config->name, HF_CONFIG_VALUES_MAX);
    if (config->count == config->capacity) {
        uint32_t wanted = config->capacity == 0 ? FIRST_CAPACITY : config->capacity * 2;
        void *block = config->values;
        TRY(mem_resize(config->ledger, MEM_META, &block, wanted, sizeof *config->values, "configuration", error));
        config->values = block;
        config->capacity = wanted;
    }
    config_value added = {.kind = token->kind, .next = config->count + 1, .text = ""};
    if (token->kind == JSON_KEY || token->kind == JSON_STRING || token->kind == JSON_NUMBER) {
        TRY(arena_copy_text(&config->memory, token->text, token->text_bytes, &added.text, error));
        added.text_bytes = (uint32_t)token->text_bytes; /* below HF_CONFIG_BYTES_MAX */
    }
    config->values[config->count++] = added;
    return LEAT_OK;
}

static leat_status read_document(hf_config *config, json *parser, leat_error *error)
{
    uint32_t open[CONFIG_DEPTH_MAX], depth = 0; /* the objects and arrays that have not ended */
    json_token token;
    for (;;) {
        TRY(json_next(parser, &token, error));
        switch (token.kind) {
        case JSON_END: return LEAT_OK;
        case JSON_OBJECT_END:
        case JSON_ARRAY_END:
            assert(depth > 0);
            config->values[open[--depth]].next = config->count;
            break;
        case JSON_OBJECT_BEGIN:
        case JSON_ARRAY_BEGIN:
            assert(depth < CONFIG_DEPTH_MAX);
            open[depth++] = config->count;
            TRY(add_value(config, &token, error));
            break;
        default: TRY(add_value(config, &token, error));
        }
    }
}

/* ---- finding ---- */

static uint32_t find_member(const hf_config *config, uint32_t object, const char *key, size_t key_bytes)
{
    const config_value *values = config->values;
    assert(values[object].kind == JSON_OBJECT_BEGIN);
    for (uint32_t at = object + 1; at < values[object].next; at = values[at + 1].next)
        if (values[at].text_bytes == key_bytes && memcmp(values[at].text, key, key_bytes) == 0)
            return values[at + 1].kind == JSON_NULL ? none : at + 1;
    return none;
}

/* The value at `key` below `object`, or none. When the path runs through something that is no object, *out_blocked is
 * that value and *out_blocked_bytes the length of its path. */
static uint32_t walk(const hf_config *config, uint32_t object, const char *key, uint32_t *out_blocked,
                     int *out_blocked_bytes)
{
    *out_blocked = none;
    for (const char *part = key;;) {
        size_t part_bytes = strcspn(part, "/");
        uint32_t found = find_member(config, object, part, part_bytes);
        if (found == none || part[part_bytes] == '\0') return found;
        if (config->values[found].kind != JSON_OBJECT_BEGIN) {
            *out_blocked = found;
            *out_blocked_bytes = (int)(part + part_bytes - key);
            return none;
        }
        object = found;
        part += part_bytes + 1;
    }
}

static json_token token_of(const config_value *value)
{
    return (json_token){.kind = value->kind, .text = value->text, .text_bytes = value->text_bytes};
}

static const char *show_value(const hf_config *config, uint32_t idx, char out[SHOWN_BYTES + 2])
{
    const config_value *value = &config->values[idx];
    switch (value->kind) {
    case JSON_NUMBER: excerpt_text(value->text, value->text_bytes, out, SHOWN_BYTES); return out;
    case JSON_STRING:
        out[0] = '"';
        excerpt_text(value->text, value->text_bytes, out + 1, SHOWN_BYTES);
        strcat(out, "\""); /* two bytes are kept for the quotes */
        return out;
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    case JSON_ARRAY_BEGIN: return "an array";
    default: return "an object";
    }
}

#define FAIL_VALUE(error, config, where, idx, format, ...)                                                             \
    FAIL(error, MODEL, "%s: %s is %s, expected " format, (config)->name, (where),                                      \
         show_value((config), (idx), (char[SHOWN_BYTES + 2]){0}), ##__VA_ARGS__)

/* Below text_config, then at the top level; none when absent. */
static leat_status find_value(const hf_config *config, const char *key, uint32_t *out_idx, leat_error *error)
{
    const uint32_t objects[] = {config->text_config, 0};
    *out_idx = none;
    for (size_t i = 0; i < ARRAY_COUNT(objects) && *out_idx == none; i++) {
        uint32_t blocked;
        int blocked_bytes = 0;
        if (objects[i] == none) continue;
        *out_idx = walk(config, objects[i], key, &blocked, &blocked_bytes);
        if (blocked != none) {
            char where[EXCERPT_BYTES];
            excerpt_text(key, (size_t)blocked_bytes, where, sizeof where);
            return FAIL_VALUE(error, config, where, blocked, "an object");
        }
    }
    return LEAT_OK;
}

bool hf_config_has(const hf_config *config, const char *key)
{
    uint32_t idx;
    return find_value(config, key, &idx, NULL) == LEAT_OK && idx != none;
}

/* ---- open, close ---- */

static leat_status fill_config(hf_config *config, const char *name, const char *text, uint64_t text_bytes,
                               leat_error *error)
{
    const json_limits limits = {.depth_max = CONFIG_DEPTH_MAX,
                                .string_bytes_max = HF_CONFIG_BYTES_MAX,
                                .key_count_max = HF_CONFIG_VALUES_MAX,
                                .unique_keys = true,
                                .allow_nonfinite = true};
    TRY(arena_copy_text(&config->memory, name, strlen(name), &config->name, error));
    if (text_bytes > HF_CONFIG_BYTES_MAX)
        return FAIL(error, MODEL, "%s: the file has %llu bytes, expected at most %d", name,
                    (unsigned long long)text_bytes, HF_CONFIG_BYTES_MAX);
    json *parser = NULL;
    TRY(json_open(config->ledger, MEM_META, name, text, text_bytes, &limits, &parser, error));
    leat_status status = read_document(config, parser, error);
    json_close(&parser);
    if (status != LEAT_OK) return status;
    if (config->values[0].kind != JSON_OBJECT_BEGIN) return FAIL_VALUE(error, config, "the document", 0, "an object");
    config->text_config = find_member(config, 0, "text_config", strlen("text_config"));
    if (config->text_config != none && config->values[config->text_config].kind != JSON_OBJECT_BEGIN)
        return FAIL_VALUE(error, config, "text_config", config->text_config, "an object");
    return LEAT_OK;
}

leat_status hf_config_open(mem *ledger, const char *name, const char *text, uint64_t text_bytes, hf_config **out_config,
                           leat_error *error)
{
    hf_config *config = NULL;
    TRY(MEM_NEW(ledger, META, 1, &config, error));
    config->ledger = ledger;
    config->text_config = none;
    arena_init(&config->memory, ledger, MEM_META, TEXT_CHUNK_BYTES);
    leat_status status = fill_config(config, name, text, text_bytes, error);
    if (status != LEAT_OK) {
        hf_config_close(&config);
        return status;
    }
    *out_config = config;
    return LEAT_OK;
}

void hf_config_close(hf_config **config)
{
    if (config == NULL || *config == NULL) return;
    mem *ledger = (*config)->ledger;
    mem_free(ledger, (*config)->values);
    arena_reset(&(*config)->memory);
    mem_free(ledger, *config);
    *config = NULL;
}

const char *hf_config_name(const hf_config *config) { return config->name; }

/* ---- single values ---- */

/* `where` is the key as messages show it. */
static leat_status read_u32(const hf_config *config, const char *where, uint32_t idx, uint32_t low, uint32_t high,
                            uint32_t *out_value, leat_error *error)
{
    json_token token = token_of(&config->values[idx]);
    int64_t value = 0;
    uint64_t large = 0;
    bool fits = token.kind == JSON_NUMBER && json_to_i64(&token, &value);
    bool is_large = token.kind == JSON_NUMBER && !fits && json_to_u64(&token, &large);
    if (!fits && !is_large) return FAIL_VALUE(error, config, where, idx, "an integer from %u to %u", low, high);
    if (is_large || value < low || value > high) return FAIL_VALUE(error, config, where, idx, "%u to %u", low, high);
    *out_value = (uint32_t)value;
    return LEAT_OK;
}

leat_status hf_config_u32(const hf_config *config, const char *key, uint32_t low, uint32_t high, uint32_t *out_value,
                          leat_error *error)
{
    uint32_t idx;
    TRY(find_value(config, key, &idx, error));
    if (idx == none)
        return FAIL(error, MODEL, "%s: %s is missing, expected an integer from %u to %u", config->name, key, low, high);
    return read_u32(config, key, idx, low, high, out_value, error);
}

leat_status hf_config_u32_or(const hf_config *config, const char *key, uint32_t low, uint32_t high, uint32_t fallback,
                             uint32_t *out_value, leat_error *error)
{
    uint32_t idx;
    TRY(find_value(config, key, &idx, error));
    if (idx != none) return read_u32(config, key, idx, low, high, out_value, error);
    *out_value = fallback;
    return LEAT_OK;
}

/* A number, or the object {"__float__": "Infinity"} as transformers writes what JSON has no number for. */
static bool read_f64(const hf_config *config, uint32_t idx, double *out_value)
{
    json_token token = token_of(&config->values[idx]);
    if (token.kind == JSON_NUMBER) return json_to_f64(&token, out_value);
    if (token.kind != JSON_OBJECT_BEGIN) return false;
    uint32_t word = find_member(config, idx, "__float__", strlen("__float__"));
    if (word == none || config->values[word].kind != JSON_STRING) return false;
    token = token_of(&config->values[word]);
    bool is_negative = json_text_is(&token, "-Infinity");
    if (!is_negative && !json_text_is(&token, "Infinity")) return false;
    *out_value = is_negative ? -INFINITY : INFINITY;
    return true;
}

leat_status hf_config_f64_or(const hf_config *config, const char *key, double low, double high, double fallback,
                             double *out_value, leat_error *error)
{
    uint32_t idx;
    double value;
    TRY(find_value(config, key, &idx, error));
    if (idx == none) {
        *out_value = fallback;
        return LEAT_OK;
    }
    if (!read_f64(config, idx, &value) || !(value >= low && value <= high))
        return FAIL_VALUE(error, config, key, idx, "a number from %g to %g", low, high);
    *out_value = value;
    return LEAT_OK;
}

leat_status hf_config_bool_or(const hf_config *config, const char *key, bool fallback, bool *out_value,
                              leat_error *error)
{
    uint32_t idx;
    TRY(find_value(config, key, &idx, error));
    if (idx == none) {
        *out_value = fallback;
        return LEAT_OK;
    }
    json_kind kind = config->values[idx].kind;
    if (kind != JSON_TRUE && kind != JSON_FALSE) return FAIL_VALUE(error, config, key, idx, "true or false");
    *out_value = kind == JSON_TRUE;
    return LEAT_OK;
}

static leat_status read_text(const hf_config *config, const char *where, uint32_t idx, char *out, size_t out_bytes,
                             leat_error *error)
{
    const config_value *value = &config->values[idx];
    if (value->kind != JSON_STRING) return FAIL_VALUE(error, config, where, idx, "a string");
    if (value->text_bytes >= out_bytes)
        return FAIL_VALUE(error, config, where, idx, "at most %zu bytes", out_bytes - 1);
    if (strlen(value->text) != value->text_bytes)
        return FAIL_VALUE(error, config, where, idx, "a string without U+0000");
    memcpy(out, value->text, (size_t)value->text_bytes + 1);
    return LEAT_OK;
}

leat_status hf_config_text_or(const hf_config *config, const char *key, const char *fallback, char *out,
                              size_t out_bytes, leat_error *error)
{
    uint32_t idx;
    TRY(find_value(config, key, &idx, error));
    if (idx != none) return read_text(config, key, idx, out, out_bytes, error);
    if (fallback == NULL) fallback = "";
    assert(strlen(fallback) < out_bytes);
    memcpy(out, fallback, strlen(fallback) + 1);
    return LEAT_OK;
}

/* ---- arrays ---- */

static uint32_t next_element(const hf_config *config, uint32_t array, uint32_t element)
{
    uint32_t at = element == none ? array + 1 : config->values[element].next;
    return at < config->values[array].next ? at : none;
}

static uint32_t count_elements(const hf_config *config, uint32_t array)
{
    uint32_t count = 0;
    for (uint32_t at = next_element(config, array, none); at != none; at = next_element(config, array, at)) count++;
    return count;
}

leat_status hf_config_array_count(const hf_config *config, const char *key, uint32_t *out_count, leat_error *error)
{
    uint32_t idx;
    TRY(find_value(config, key, &idx, error));
    if (idx != none && config->values[idx].kind != JSON_ARRAY_BEGIN)
        return FAIL_VALUE(error, config, key, idx, "an array");
    *out_count = idx == none ? 0 : count_elements(config, idx);
    return LEAT_OK;
}

/* Element `wanted` of the array at `key`, and its name for messages. */
static leat_status find_element(const hf_config *config, const char *key, uint32_t wanted, uint32_t *out_idx,
                                char where[EXCERPT_BYTES], leat_error *error)
{
    uint32_t array, at;
    TRY(find_value(config, key, &array, error));
    snprintf(where, EXCERPT_BYTES, "%.100s[%u]", key, wanted);
    if (array == none) return FAIL(error, MODEL, "%s: %s is missing", config->name, where);
    if (config->values[array].kind != JSON_ARRAY_BEGIN) return FAIL_VALUE(error, config, key, array, "an array");
    at = next_element(config, array, none);
    for (uint32_t i = 0; i < wanted && at != none; i++) at = next_element(config, array, at);
    if (at == none)
        return FAIL(error, MODEL, "%s: %s is missing, the array has %u elements", config->name, where,
                    count_elements(config, array));
    *out_idx = at;
    return LEAT_OK;
}

leat_status hf_config_array_text(const hf_config *config, const char *key, uint32_t idx, char *out, size_t out_bytes,
                                 leat_error *error)
{
    uint32_t at;
    char where[EXCERPT_BYTES];
    TRY(find_element(config, key, idx, &at, where, error));
    return read_text(config, where, at, out, out_bytes, error);
}

leat_status hf_config_array_u32(const hf_config *config, const char *key, uint32_t idx, uint32_t low, uint32_t high,
                                uint32_t *out_value, leat_error *error)
{
    uint32_t at;
    char where[EXCERPT_BYTES];
    TRY(find_element(config, key, idx, &at, where, error));
    return read_u32(config, where, at, low, high, out_value, error);
}

leat_status hf_config_array_f64(const hf_config *config, const char *key, uint32_t idx, double *out_value,
                                leat_error *error)
{
    uint32_t at;
    char where[EXCERPT_BYTES];
    TRY(find_element(config, key, idx, &at, where, error));
    if (!read_f64(config, at, out_value)) return FAIL_VALUE(error, config, where, at, "a number");
    return LEAT_OK;
}

/* ---- token ids ---- */

typedef struct id_list {
    uint32_t *ids;
    uint32_t count, capacity, vocab_count;
} id_list;

static leat_status add_token_id(const hf_config *config, const char *key, uint32_t idx, id_list *list,
                                leat_error *error)
{
    uint32_t id;
    TRY(read_u32(config, key, idx, 0, list->vocab_count - 1, &id, error));
    for (uint32_t i = 0; i < list->count; i++)
        if (list->ids[i] == id) return LEAT_OK;
    if (list->count == list->capacity)
        return FAIL(error, MODEL, "%s: %s: more than %u different ids", config->name, key, list->capacity);
    list->ids[list->count++] = id;
    return LEAT_OK;
}

leat_status hf_config_token_ids(const hf_config *config, const char *key, uint32_t vocab_count, uint32_t *out_ids,
                                uint32_t capacity, uint32_t *count, leat_error *error)
{
    assert(vocab_count > 0);
    id_list list = {.ids = out_ids, .count = *count, .capacity = capacity, .vocab_count = vocab_count};
    const uint32_t objects[] = {0, config->text_config};
    for (size_t i = 0; i < ARRAY_COUNT(objects); i++) {
        uint32_t idx = objects[i] == none ? none : find_member(config, objects[i], key, strlen(key));
        if (idx == none) continue;
        if (config->values[idx].kind != JSON_ARRAY_BEGIN) {
            TRY(add_token_id(config, key, idx, &list, error));
            continue;
        }
        for (uint32_t at = next_element(config, idx, none); at != none; at = next_element(config, idx, at))
            TRY(add_token_id(config, key, at, &list, error));
    }
    *count = list.count;
    return LEAT_OK;
}

/* ---- quantisation ---- */

static const struct {
    const char *label;
    uint32_t default_group, default_bits;
} mode_table[] = {
    [QUANT_MODE_AFFINE] = {"affine", 64, 4},
    [QUANT_MODE_MXFP4] = {"mxfp4", 32, 4},
    [QUANT_MODE_NVFP4] = {"nvfp4", 16, 4},
    [QUANT_MODE_MXFP8] = {"mxfp8", 32, 8},
};

const char *quant_mode_label(quant_mode mode)
{
    assert(mode < ARRAY_COUNT(mode_table));
    return mode_table[mode].label;
}

/* The parameters of the dictionary or of one override. Both allowed sets are small numbers, so a bit set says what is
 * in them. */
static leat_status read_quant_params(const hf_config *config, uint32_t object, const char *where, quant_hint *out_hint,
                                     leat_error *error)
{
    static const uint32_t known_bits = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8;
    char path[2 * EXCERPT_BYTES];
    quant_hint hint = {.is_present = true};
    json_token token;
    uint64_t number;

    uint32_t group = find_member(config, object, "group_size", strlen("group_size"));
    if (group != none) {
        token = token_of(&config->values[group]);
        hint.has_group = token.kind == JSON_NUMBER && json_to_u64(&token, &number) &&
                         (number == 16 || number == 32 || number == 64 || number == 128);
        snprintf(path, sizeof path, "%s: group_size", where);
        if (!hint.has_group) return FAIL_VALUE(error, config, path, group, "16, 32, 64 or 128");
        hint.group = (uint32_t)number;
    }
    uint32_t bits = find_member(config, object, "bits", strlen("bits"));
    if (bits != none) {
        token = token_of(&config->values[bits]);
        hint.has_bits =
            token.kind == JSON_NUMBER && json_to_u64(&token, &number) && number <= 8 && (known_bits >> number & 1) != 0;
        snprintf(path, sizeof path, "%s: bits", where);
        if (!hint.has_bits) return FAIL_VALUE(error, config, path, bits, "1, 2, 3, 4, 5, 6 or 8");
        hint.bits = (uint32_t)number;
    }
    uint32_t mode = find_member(config, object, "mode", strlen("mode"));
    if (mode != none) {
        token = token_of(&config->values[mode]);
        for (size_t i = 0; token.kind == JSON_STRING && i < ARRAY_COUNT(mode_table); i++) {
            if (!json_text_is(&token, mode_table[i].label)) continue;
            hint.has_mode = true;
            hint.mode = (quant_mode)i;
        }
        snprintf(path, sizeof path, "%s: mode", where);
        if (!hint.has_mode) return FAIL_VALUE(error, config, path, mode, "affine, mxfp4, nvfp4 or mxfp8");
    }
    uint32_t global_scale = find_member(config, object, "global_scale", strlen("global_scale"));
    hint.has_global_scale = global_scale != none && config->values[global_scale].kind == JSON_TRUE;
    if (!hint.has_group) hint.group = mode_table[hint.mode].default_group;
    if (!hint.has_bits) hint.bits = mode_table[hint.mode].default_bits;
    *out_hint = hint;
    return LEAT_OK;
}

/* The dictionary that describes MLX's quantisation, or none. */
static leat_status find_quant(const hf_config *config, uint32_t *out_object, const char **out_where, leat_error *error)
{
    uint32_t idx;
    *out_where = "quantization";
    TRY(find_value(config, *out_where, &idx, error));
    if (idx != none) {
        if (config->values[idx].kind != JSON_OBJECT_BEGIN)
            return FAIL_VALUE(error, config, *out_where, idx, "an object");
        *out_object = idx;
        return LEAT_OK;
    }
    *out_object = none;
    *out_where = "quantization_config";
    TRY(find_value(config, *out_where, &idx, error));
    if (idx == none) return LEAT_OK;
    if (config->values[idx].kind != JSON_OBJECT_BEGIN) return FAIL_VALUE(error, config, *out_where, idx, "an object");
    uint32_t method = find_member(config, idx, "quant_method", strlen("quant_method"));
    if (method != none) {
        char shown[SHOWN_BYTES + 2];
        leat_status status = FAIL(error, MODEL,
                                  "%s: quantization_config: quant_method %s is not supported, expected MLX's "
                                  "quantisation or none",
                                  config->name, show_value(config, method, shown));
        status_hint(error, "use a conversion for MLX, or the folder with the original float weights");
        return status;
    }
    if (find_member(config, idx, "bits", strlen("bits")) != none ||
        find_member(config, idx, "group_size", strlen("group_size")) != none)
        *out_object = idx;
    return LEAT_OK;
}

static bool is_override(json_kind kind) { return kind == JSON_OBJECT_BEGIN || kind == JSON_TRUE || kind == JSON_FALSE; }

static leat_status read_override(const hf_config *config, uint32_t dictionary, const char *where, uint32_t key,
                                 quant_hint *out_hint, leat_error *error)
{
    const config_value *value = &config->values[key + 1];
    char module[EXCERPT_BYTES], path[2 * EXCERPT_BYTES];
    if (value->kind == JSON_FALSE) {
        *out_hint = (quant_hint){.is_present = true, .is_off = true};
        return LEAT_OK;
    }
    if (value->kind == JSON_TRUE) return read_quant_params(config, dictionary, where, out_hint, error);
    excerpt_text(config->values[key].text, config->values[key].text_bytes, module, sizeof module);
    snprintf(path, sizeof path, "%s: %s", where, module);
    return read_quant_params(config, key + 1, path, out_hint, error);
}

leat_status hf_config_quant(const hf_config *config, quant_hint *out_hint, leat_error *error)
{
    uint32_t dictionary;
    const char *where;
    quant_hint top = {0}, ignored;
    TRY(find_quant(config, &dictionary, &where, error));
    if (dictionary != none) {
        const config_value *values = config->values;
        TRY(read_quant_params(config, dictionary, where, &top, error));
        for (uint32_t key = dictionary + 1; key < values[dictionary].next; key = values[key + 1].next)
            if (is_override(values[key + 1].kind)) TRY(read_override(config, dictionary, where, key, &ignored, error));
    }
    *out_hint = top;
    return LEAT_OK;
}

leat_status hf_config_quant_override(const hf_config *config, const char *module_path, quant_hint *out_hint,
                                     leat_error *error)
{
    /* The roots under which checkpoints keep the text model; longer ones come before those they begin with. */
    static const char *const roots[] = {"language_model.model.", "model.language_model.", "model.", "language_model.",
                                        ""};
    uint32_t dictionary;
    const char *where, *below = module_path;
    TRY(find_quant(config, &dictionary, &where, error));
    *out_hint = (quant_hint){0};
    if (dictionary == none) return LEAT_OK;
    for (size_t i = 0; i < ARRAY_COUNT(roots) && below == module_path && roots[i][0] != '\0'; i++)
        if (strncmp(module_path, roots[i], strlen(roots[i])) == 0) below += strlen(roots[i]);
    uint32_t found = find_member(config, dictionary, module_path, strlen(module_path));
    for (size_t i = 0; i < ARRAY_COUNT(roots) && found == none; i++) {
        char path[640];
        int written = snprintf(path, sizeof path, "%s%s", roots[i], below);
        if (written < 0 || (size_t)written >= sizeof path) break; /* longer than any tensor's name */
        found = find_member(config, dictionary, path, (size_t)written);
    }
    if (found == none || !is_override(config->values[found].kind)) return LEAT_OK;
    return read_override(config, dictionary, where, found - 1, out_hint, error);
}
