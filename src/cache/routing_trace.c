#include "cache/routing_trace.h"

#include "base/bytes.h"
#include "base/json.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRACE_BYTES_MAX (UINT64_C(4) << 30)
enum { NAME_BYTES = 160 };

typedef struct reader {
    route_trace *t;
    json *parser;
    const char *name; /* "FILE, line N", for errors */
    uint64_t *seen;   /* (ROUTE_EXPERTS_MAX) the list that named an expert last, plus 1 */
    uint64_t line_number;
    uint64_t first_list; /* of the step */
    uint32_t used_most;  /* by steps of one row */
} reader;

static leat_status next_token(reader *r, json_token *out_token, leat_error *error)
{
    return json_next(r->parser, out_token, error);
}

static leat_status expect(reader *r, json_kind kind, const char *what, leat_error *error)
{
    json_token token;
    TRY(next_token(r, &token, error));
    return token.kind == kind ? LEAT_OK : json_fail_at(r->parser, token.offset, error, "expected %s", what);
}

static leat_status read_number(reader *r, uint64_t most, uint64_t *out_value, leat_error *error)
{
    json_token token;
    TRY(next_token(r, &token, error));
    if (token.kind != JSON_NUMBER || !json_to_u64(&token, out_value) || *out_value > most)
        return json_fail_at(r->parser, token.offset, error, "expected a number from 0 to %" PRIu64, most);
    return LEAT_OK;
}

/* Behind the opening bracket. */
static leat_status read_ids(reader *r, uint32_t layer, leat_error *error)
{
    route_trace *t = r->t;
    route_list list = {.begin = t->id_count, .layer = layer};
    uint32_t most = t->has_settings ? t->expert_count : ROUTE_EXPERTS_MAX;
    for (;;) {
        json_token token;
        uint64_t id = 0;
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &id) || id >= most)
            return json_fail_at(r->parser, token.offset, error, "layer %" PRIu32 ": expected an expert below %" PRIu32,
                                layer, most);
        if (r->seen[id] == t->list_count + 1)
            return json_fail_at(r->parser, token.offset, error, "layer %" PRIu32 " names expert %" PRIu64 " twice",
                                layer, id);
        r->seen[id] = t->list_count + 1;
        t->id_rows[t->id_count] = 1;
        t->ids[t->id_count++] = (uint32_t)id;
        list.count++;
        if (!t->has_settings) t->expert_count = (uint32_t)max_u64(t->expert_count, id + 1);
    }
    t->lists[t->list_count++] = list;
    return LEAT_OK;
}

static leat_status read_layers(reader *r, leat_error *error)
{
    route_trace *t = r->t;
    json_token token;
    uint32_t layer_count = 0, most = t->has_settings ? t->layer_count : ROUTE_LAYERS_MAX;
    TRY(expect(r, JSON_ARRAY_BEGIN, "an array of layers", error));
    for (;; layer_count++) {
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_ARRAY_END) break;
        if (token.kind != JSON_ARRAY_BEGIN)
            return json_fail_at(r->parser, token.offset, error, "expected a list of experts");
        if (layer_count == most)
            return json_fail_at(r->parser, token.offset, error, "more than %" PRIu32 " layers", most);
        TRY(read_ids(r, layer_count, error));
    }
    if (!t->has_settings) t->layer_count = (uint32_t)max_u64(t->layer_count, layer_count);
    return LEAT_OK;
}

/* Behind the opening bracket: numbers for one list of the step, as its ids are. */
static leat_status read_row_counts(reader *r, route_list *list, leat_error *error)
{
    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t rows;
        TRY(read_number(r, UINT32_MAX, &rows, error));
        r->t->id_rows[list->begin + i] = (uint32_t)rows;
    }
    return expect(r, JSON_ARRAY_END, "as many numbers as the layer has experts", error);
}

static leat_status read_ahead_ids(reader *r, route_list *list, leat_error *error)
{
    route_trace *t = r->t;
    list->ahead_begin = t->ahead_count;
    for (;;) {
        json_token token;
        uint64_t id = 0;
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &id) || id >= t->expert_count ||
            list->ahead_count == AHEAD_MAX)
            return json_fail_at(r->parser, token.offset, error, "expected at most %d experts below %" PRIu32, AHEAD_MAX,
                                t->expert_count);
        t->ahead[t->ahead_count++] = (uint32_t)id;
        list->ahead_count++;
    }
}

typedef leat_status list_reader(reader *r, route_list *list, leat_error *error);

/* What belongs to the lists of "layers", in their order; it may have fewer. */
static leat_status read_beside(reader *r, list_reader *read_list, leat_error *error)
{
    route_trace *t = r->t;
    json_token token;
    TRY(expect(r, JSON_ARRAY_BEGIN, "an array of layers", error));
    for (uint64_t i = r->first_list;; i++) {
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_ARRAY_BEGIN || i >= t->list_count)
            return json_fail_at(r->parser, token.offset, error, "expected a list for each of \"layers\", after it");
        TRY(read_list(r, &t->lists[i], error));
    }
}

static leat_status read_policy(reader *r, leat_error *error)
{
    json_token token;
    TRY(next_token(r, &token, error));
    for (int policy = 0; token.kind == JSON_STRING && policy < CACHE_POLICY_COUNT; policy++)
        if (json_text_is(&token, cache_policy_label((cache_policy)policy))) {
            r->t->policy = (cache_policy)policy;
            return LEAT_OK;
        }
    return json_fail_at(r->parser, token.offset, error, "\"policy\" is none of lru, lfu, slru, s3fifo");
}

/* [class of layer 0, ..] */
static leat_status read_classes(reader *r, uint64_t *out_count, leat_error *error)
{
    route_trace *t = r->t;
    TRY(expect(r, JSON_ARRAY_BEGIN, "an array of classes", error));
    if (!t->layer_classes) TRY(MEM_NEW(t->ledger, META, ROUTE_LAYERS_MAX, &t->layer_classes, error));
    for (*out_count = 0;; ++*out_count) {
        json_token token;
        uint64_t class_idx = 0;
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &class_idx) || class_idx >= EXPERT_CLASSES_MAX ||
            *out_count == ROUTE_LAYERS_MAX)
            return json_fail_at(r->parser, token.offset, error, "expected a class below %d for each layer",
                                EXPERT_CLASSES_MAX);
        t->layer_classes[*out_count] = (uint8_t)class_idx;
    }
}

/* The settings of the cache; behind the value of "leat_route_trace". */
static leat_status read_settings(reader *r, leat_error *error)
{
    route_trace *t = r->t;
    uint64_t layer_count = 0, expert_count = 0, used_count = 0, slot_count = 0, set_max = 0, class_count = 0;
    bool has_policy = false;
    for (;;) {
        json_token token;
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "layer_count"))
            TRY(read_number(r, ROUTE_LAYERS_MAX, &layer_count, error));
        else if (json_text_is(&token, "expert_count"))
            TRY(read_number(r, ROUTE_EXPERTS_MAX, &expert_count, error));
        else if (json_text_is(&token, "used_count"))
            TRY(read_number(r, EXPERT_SET_MAX, &used_count, error));
        else if (json_text_is(&token, "slot_count"))
            TRY(read_number(r, UINT32_MAX - 1, &slot_count, error));
        else if (json_text_is(&token, "set_max"))
            TRY(read_number(r, EXPERT_SET_MAX, &set_max, error));
        else if (json_text_is(&token, "classes"))
            TRY(read_classes(r, &class_count, error));
        else if (json_text_is(&token, "policy")) {
            TRY(read_policy(r, error));
            has_policy = true;
        } else
            TRY(json_skip(r->parser, error));
    }
    if (!layer_count || !expert_count || !used_count || !slot_count || !set_max || !has_policy)
        return json_fail_at(r->parser, 0, error,
                            "the settings need layer_count, expert_count, used_count, slot_count, set_max, policy");
    if (t->layer_classes && class_count != layer_count)
        return json_fail_at(r->parser, 0, error, "\"classes\" has not one number for each layer");
    t->layer_count = (uint32_t)layer_count;
    t->expert_count = (uint32_t)expert_count;
    t->used_count = (uint32_t)used_count;
    t->slot_count = (uint32_t)slot_count;
    t->set_max = (uint32_t)set_max;
    t->has_settings = true;
    return LEAT_OK;
}

static leat_status read_version(reader *r, leat_error *error)
{
    uint64_t version;
    if (r->line_number > 1 && (r->t->step_count > 0 || r->t->has_settings))
        return json_fail_at(r->parser, 0, error, "settings in the middle: two traces in one file?");
    TRY(read_number(r, UINT32_MAX, &version, error));
    if (version != ROUTE_TRACE_VERSION)
        return json_fail_at(r->parser, 0, error, "version %" PRIu64 " of the format; this program knows %d", version,
                            ROUTE_TRACE_VERSION);
    return read_settings(r, error);
}

static leat_status read_step(reader *r, const json_token *first_key, leat_error *error)
{
    route_trace *t = r->t;
    uint64_t row_count = 1;
    bool has_layers = false;
    r->first_list = t->list_count;
    for (json_token token = *first_key; token.kind == JSON_KEY;) {
        if (json_text_is(&token, "layers") && !has_layers) {
            TRY(read_layers(r, error));
            has_layers = true;
        } else if (json_text_is(&token, "expert_rows"))
            TRY(read_beside(r, read_row_counts, error));
        else if (json_text_is(&token, "ahead"))
            TRY(read_beside(r, read_ahead_ids, error));
        else if (json_text_is(&token, "rows"))
            TRY(read_number(r, UINT32_MAX, &row_count, error));
        else
            TRY(json_skip(r->parser, error));
        TRY(next_token(r, &token, error));
    }
    if (!has_layers) return json_fail_at(r->parser, 0, error, "a step without \"layers\"");
    for (uint64_t i = r->first_list; i < t->list_count; i++) {
        t->lists[i].row_count = (uint32_t)row_count;
        if (row_count == 1) r->used_most = (uint32_t)max_u64(r->used_most, t->lists[i].count);
    }
    t->step_count++;
    t->token_count += row_count;
    return LEAT_OK;
}

/* {"slots": N, ..}: from here on the cache had another size. Behind the value's key. */
static leat_status read_resize(reader *r, leat_error *error)
{
    json_token token;
    uint64_t slot_count;
    TRY(read_number(r, UINT32_MAX - 1, &slot_count, error));
    for (;;) {
        TRY(next_token(r, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(json_skip(r->parser, error));
    }
    r->t->resize_count++;
    return LEAT_OK;
}

static leat_status read_object(reader *r, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_OBJECT_BEGIN, "an object", error));
    TRY(next_token(r, &token, error));
    if (token.kind == JSON_KEY && json_text_is(&token, "leat_route_trace"))
        TRY(read_version(r, error));
    else if (token.kind == JSON_KEY && json_text_is(&token, "slots"))
        TRY(read_resize(r, error));
    else
        TRY(read_step(r, &token, error));
    return expect(r, JSON_END, "the end of the line", error);
}

/* A line that was cut off leaves the trace as it was before it. */
static leat_status read_line(reader *r, const char *line, uint64_t bytes, bool is_cut, leat_error *error)
{
    const route_trace before = *r->t;
    char name[NAME_BYTES + 32];
    snprintf(name, sizeof name, "%.*s, line %" PRIu64, NAME_BYTES, r->name, r->line_number);
    TRY(json_open(r->t->ledger, MEM_META, name, line, bytes, &json_limits_default, &r->parser, error));
    leat_status status = read_object(r, error);
    json_close(&r->parser);
    if (status != LEAT_MODEL || !is_cut || r->t->step_count + r->t->has_settings == 0) return status;
    *r->t = before;
    return LEAT_OK;
}

static leat_status read_lines(reader *r, const char *text, leat_error *error)
{
    for (const char *line = text; *line != 0;) {
        const char *end = strchr(line, '\n');
        bool is_cut = end == NULL;
        if (is_cut) end = line + strlen(line);
        r->line_number++;
        if (end > line) TRY(read_line(r, line, (uint64_t)(end - line), is_cut, error));
        line = is_cut ? end : end + 1;
    }
    return LEAT_OK;
}

static leat_status check_whole(reader *r, leat_error *error)
{
    route_trace *t = r->t;
    if (!t->has_settings) t->used_count = (uint32_t)max_u64(1, r->used_most);
    if (t->id_count == 0 && !t->has_settings)
        return FAIL(error, MODEL, "%s: no step with experts in it; expected lines {\"tok\": 0, \"layers\": [[3, 17]]}",
                    r->name);
    if (t->used_count > EXPERT_SET_MAX || (t->has_settings && t->set_max < t->used_count))
        return FAIL(error, MODEL, "%s: %" PRIu32 " experts a token; at most %" PRIu32 " are possible", r->name,
                    t->used_count, t->has_settings ? t->set_max : (uint32_t)EXPERT_SET_MAX);
    return LEAT_OK;
}

leat_status route_trace_parse(mem *ledger, const char *name, const char *text, route_trace *out_trace,
                              leat_error *error)
{
    reader r = {.t = out_trace, .name = name};
    uint64_t list_max = 1, id_max = 1; /* every list has a bracket, every id a bracket or a comma before it */
    *out_trace = (route_trace){.ledger = ledger};
    for (const char *p = text; *p; p++) {
        list_max += *p == '[';
        id_max += *p == '[' || *p == ',';
    }
    leat_status status = MEM_NEW(ledger, META, ROUTE_EXPERTS_MAX, &r.seen, error);
    if (status == LEAT_OK) status = MEM_NEW(ledger, META, list_max, &out_trace->lists, error);
    if (status == LEAT_OK) status = MEM_NEW(ledger, META, id_max, &out_trace->ids, error);
    if (status == LEAT_OK) status = MEM_NEW(ledger, META, id_max, &out_trace->id_rows, error);
    if (status == LEAT_OK) status = MEM_NEW(ledger, META, id_max, &out_trace->ahead, error);
    if (status == LEAT_OK) status = read_lines(&r, text, error);
    if (status == LEAT_OK) status = check_whole(&r, error);
    mem_free(ledger, r.seen);
    return status;
}

leat_status route_trace_open(mem *ledger, const char *path, route_trace *out_trace, leat_error *error)
{
    char *text = NULL;
    uint64_t bytes;
    TRY(file_load(ledger, MEM_META, AT_FDCWD, path, false, TRACE_BYTES_MAX, &text, &bytes, error));
    leat_status status = strlen(text) == bytes ? route_trace_parse(ledger, path, text, out_trace, error)
                                               : FAIL(error, MODEL, "%s: holds NUL bytes; expected JSON Lines", path);
    mem_free(ledger, text);
    return status;
}

void route_trace_close(route_trace *t)
{
    if (t->ledger == NULL) return;
    mem_free(t->ledger, t->ids);
    mem_free(t->ledger, t->id_rows);
    mem_free(t->ledger, t->ahead);
    mem_free(t->ledger, t->lists);
    mem_free(t->ledger, t->layer_classes);
    *t = (route_trace){0};
}
