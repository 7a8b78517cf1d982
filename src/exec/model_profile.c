#include "exec/model_profile.h"

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "cache/expert_classes.h"
#include "exec/expert_records.h"
#include "exec/pack_manifest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_VERSION = 1, FILE_BYTES_MAX = 64 << 20, POLICY_TOKENS = 128 };
/* Tokens after which what was learned counts half. */
static const double half_life = 512, uses_half_life = 4096;
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t token_ids(const model_profile *p) { return (uint64_t)p->layer_count * p->used_count; }
static uint64_t key_count(const model_profile *p) { return (uint64_t)p->layer_count * p->expert_count; }

/* So that a sample is replayed as the engine's cache would live it. */
static leat_status find_classes(model_profile *p, const model_desc *m, leat_error *error)
{
    expert_records records = {0};
    expert_classes classes = {.count = 1};

    TRY(expert_records_open(p->ledger, m, &records, error));
    const expert_cache_config config = {.layer_count = records.layer_count,
                                        .expert_count = records.expert_count,
                                        .records = records.records,
                                        .slot_count = records.layer_count * records.expert_count,
                                        .set_max = records.set_count};
    leat_status status = LEAT_OK;
    if (records.layer_count == p->layer_count) expert_classes_find(&config, &classes);
    if (classes.count > 1) status = MEM_NEW(p->ledger, META, p->layer_count, &p->layer_classes, error);
    for (uint32_t i = 0; p->layer_classes && i < p->layer_count; i++)
        p->layer_classes[i] = (uint8_t)expert_classes_of_layer(&classes, &config, i);
    expert_records_close(&records);
    return status;
}

leat_status model_profile_open(mem *ledger, const model_desc *m, const char *fingerprint, model_profile *p,
                               leat_error *error)
{
    *p = (model_profile){.ledger = ledger};
    snprintf(p->fingerprint, sizeof p->fingerprint, "%s", fingerprint);
    if (m->moe_layer_count == 0 || m->expert_count > ROUTE_SAMPLE_EXPERTS) return LEAT_OK;
    p->layer_count = m->moe_layer_count;
    p->expert_count = m->expert_count;
    p->used_count = m->expert_used_count;
    if (m->layer_count > 0) TRY(find_classes(p, m, error));
    TRY(mem_alloc(ledger, MEM_META, key_count(p), sizeof *p->uses, 0, "uses of experts", (void **)&p->uses, error));
    return mem_alloc(ledger, MEM_META, ROUTE_SAMPLE_TOKENS * token_ids(p), sizeof *p->sample, 0, "sample of routing",
                     (void **)&p->sample, error);
}

void model_profile_close(model_profile *p)
{
    if (!p->ledger) return;
    mem_free(p->ledger, p->sample);
    mem_free(p->ledger, p->uses);
    mem_free(p->ledger, p->layer_classes);
    *p = (model_profile){0};
}

/* ---- reading ---- */

typedef struct reader {
    model_profile *p;
    json *parser;
    uint64_t version;
    bool is_of_model;
} reader;

static leat_status expect(reader *r, json_kind kind, json_token *out_token, leat_error *error)
{
    TRY(json_next(r->parser, out_token, error));
    return out_token->kind == kind ? LEAT_OK : json_fail_at(r->parser, out_token->offset, error, "is not a profile");
}

static leat_status read_f64(reader *r, double *out, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_NUMBER, &token, error));
    if (!json_to_f64(&token, out) || !(*out >= 0 && *out < 1e18))
        return json_fail_at(r->parser, token.offset, error, "expected a number");
    return LEAT_OK;
}

static leat_status read_u32(reader *r, uint32_t most, uint32_t *out, leat_error *error)
{
    json_token token;
    uint64_t value;
    TRY(expect(r, JSON_NUMBER, &token, error));
    if (!json_to_u64(&token, &value) || value > most)
        return json_fail_at(r->parser, token.offset, error, "expected a number up to %" PRIu32, most);
    *out = (uint32_t)value;
    return LEAT_OK;
}

static leat_status read_string(reader *r, char *out, size_t capacity, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_STRING, &token, error));
    if (token.text_bytes >= capacity) return json_fail_at(r->parser, token.offset, error, "the text is too long");
    memcpy(out, token.text, token.text_bytes);
    out[token.text_bytes] = '\0';
    return LEAT_OK;
}

enum { PHASE_NUMBERS = sizeof(profile_phase) / sizeof(double) };
static const char *const phase_names[PHASE_NUMBERS] = {"step_count",    "token_count",  "compute_s",  "expert_wait_s",
                                                       "stream_wait_s", "expert_bytes", "read_bytes", "read_busy_s"};

/* A phase is nothing but numbers, in the order of their names. */
static double *phase_number(profile_phase *p, size_t idx) { return &p->step_count + idx; }

static leat_status read_phase(reader *r, profile_phase *out, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_OBJECT_BEGIN, &token, error));
    for (;;) {
        TRY(json_next(r->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        double *to = NULL;
        for (size_t i = 0; i < PHASE_NUMBERS; i++)
            if (json_text_is(&token, phase_names[i])) to = phase_number(out, i);
        if (to)
            TRY(read_f64(r, to, error));
        else
            TRY(json_skip(r->parser, error));
    }
}

static leat_status read_uses(reader *r, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_ARRAY_BEGIN, &token, error));
    for (uint64_t key = 0; key < key_count(r->p); key++) TRY(read_f64(r, &r->p->uses[key], error));
    return expect(r, JSON_ARRAY_END, &token, error);
}

static leat_status read_sampled_token(reader *r, const json_token *token, leat_error *error)
{
    model_profile *p = r->p;
    uint16_t *row = p->sample + p->sample_count * token_ids(p);
    if (token->kind != JSON_STRING || token->text_bytes != 2 * token_ids(p) || p->sample_count == ROUTE_SAMPLE_TOKENS)
        return json_fail_at(r->parser, token->offset, error, "expected the routing of a token");
    for (uint64_t i = 0; i < token_ids(p); i++) {
        const char a = token->text[2 * i], b = token->text[2 * i + 1];
        const char *high = a ? strchr(digits, a) : NULL, *low = b ? strchr(digits, b) : NULL;
        const uint64_t id = high && low ? (uint64_t)(high - digits) * 64 + (uint64_t)(low - digits) : UINT64_MAX;
        bool is_new = id < p->expert_count;
        for (uint64_t k = i / p->used_count * p->used_count; k < i && is_new; k++) is_new = row[k] != id;
        if (!is_new) return json_fail_at(r->parser, token->offset, error, "expected different experts of a layer");
        row[i] = (uint16_t)id;
    }
    p->sample_count++;
    return LEAT_OK;
}

static leat_status read_sample(reader *r, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_ARRAY_BEGIN, &token, error));
    for (;;) {
        TRY(json_next(r->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_sampled_token(r, &token, error));
    }
}

/* [slots, policy], by rising slots. */
static leat_status read_choices(reader *r, leat_error *error)
{
    model_profile *p = r->p;
    json_token token;
    TRY(expect(r, JSON_ARRAY_BEGIN, &token, error));
    for (;;) {
        char label[16];
        policy_choice choice = {0, CACHE_POLICY_COUNT};
        TRY(json_next(r->parser, &token, error));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (token.kind != JSON_ARRAY_BEGIN || p->choice_count == PROFILE_CHOICES_MAX)
            return json_fail_at(r->parser, token.offset, error, "expected a choice of a policy");
        TRY(read_u32(r, UINT32_MAX, &choice.slot_count, error));
        TRY(read_string(r, label, sizeof label, error));
        for (int i = 0; i < CACHE_POLICY_COUNT; i++)
            if (strcmp(label, cache_policy_label((cache_policy)i)) == 0) choice.policy = (cache_policy)i;
        if (choice.policy == CACHE_POLICY_COUNT || choice.slot_count == 0)
            return json_fail_at(r->parser, token.offset, error, "there is no policy '%s'", label);
        TRY(expect(r, JSON_ARRAY_END, &token, error));
        p->choices[p->choice_count++] = choice;
    }
}

static leat_status read_shape(reader *r, leat_error *error)
{
    const uint32_t shape[3] = {r->p->layer_count, r->p->expert_count, r->p->used_count};
    json_token token;
    TRY(expect(r, JSON_ARRAY_BEGIN, &token, error));
    for (int i = 0; i < 3; i++) {
        uint32_t found;
        TRY(read_u32(r, UINT32_MAX, &found, error));
        if (found != shape[i]) return json_fail_at(r->parser, token.offset, error, "is the profile of another model");
    }
    return expect(r, JSON_ARRAY_END, &token, error);
}

static leat_status read_member(reader *r, const json_token *key, leat_error *error)
{
    model_profile *p = r->p;
    char fingerprint[FINGERPRINT_BYTES];
    uint32_t version;
    if (json_text_is(key, "leat_profile")) {
        TRY(read_u32(r, UINT32_MAX, &version, error));
        r->version = version;
        return LEAT_OK;
    }
    if (json_text_is(key, "fingerprint")) {
        TRY(read_string(r, fingerprint, sizeof fingerprint, error));
        r->is_of_model = strcmp(fingerprint, p->fingerprint) == 0;
        return LEAT_OK;
    }
    if (json_text_is(key, "drive")) return read_string(r, p->place.drive, sizeof p->place.drive, error);
    if (json_text_is(key, "isa")) return read_string(r, p->place.isa, sizeof p->place.isa, error);
    if (json_text_is(key, "thread_count")) return read_u32(r, UINT32_MAX, &p->place.thread_count, error);
    if (json_text_is(key, "decode")) return read_phase(r, &p->decode, error);
    if (json_text_is(key, "prefill")) return read_phase(r, &p->prefill, error);
    if (json_text_is(key, "shape")) return read_shape(r, error);
    if (json_text_is(key, "uses_token_count")) return read_f64(r, &p->uses_token_count, error);
    if (json_text_is(key, "uses")) return read_uses(r, error);
    if (json_text_is(key, "chosen_ago")) return read_u32(r, UINT32_MAX, &p->chosen_ago, error);
    if (json_text_is(key, "choices")) return read_choices(r, error);
    if (json_text_is(key, "sample")) return read_sample(r, error);
    return json_skip(r->parser, error);
}

static leat_status read_file(reader *r, const char *path, leat_error *error)
{
    json_token token;
    TRY(expect(r, JSON_OBJECT_BEGIN, &token, error));
    for (;;) {
        TRY(json_next(r->parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_member(r, &token, error));
    }
    TRY(json_next(r->parser, &token, error));
    if (r->version != FILE_VERSION || !r->is_of_model) return FAIL(error, MODEL, "%s: is of another model", path);
    return LEAT_OK;
}

bool model_profile_path(const model_profile *p, const char *folder, char out[PROFILE_PATH_BYTES])
{
    const int length = snprintf(out, PROFILE_PATH_BYTES, "%s/profile-%s.json", folder, p->fingerprint);
    return length > 0 && length < PROFILE_PATH_BYTES;
}

/* What the file said; what the model says, and the memory, stay. */
static void forget(model_profile *p)
{
    model_profile empty = {.ledger = p->ledger,
                           .layer_count = p->layer_count,
                           .expert_count = p->expert_count,
                           .used_count = p->used_count,
                           .layer_classes = p->layer_classes,
                           .uses = p->uses,
                           .sample = p->sample};
    memcpy(empty.fingerprint, p->fingerprint, sizeof empty.fingerprint);
    if (p->uses) memset(p->uses, 0, key_count(p) * sizeof *p->uses);
    *p = empty;
}

bool model_profile_load(model_profile *p, const char *folder)
{
    char path[PROFILE_PATH_BYTES], *text = NULL;
    uint64_t bytes;
    leat_error error;
    reader r = {.p = p};

    if (!model_profile_path(p, folder, path) || access(path, F_OK) != 0) return false;
    leat_status status = file_load(p->ledger, MEM_META, AT_FDCWD, path, false, FILE_BYTES_MAX, &text, &bytes, &error);
    if (status == LEAT_OK)
        status = json_open(p->ledger, MEM_META, path, text, bytes, &json_limits_default, &r.parser, &error);
    if (status == LEAT_OK) status = read_file(&r, path, &error);
    json_close(&r.parser);
    mem_free(p->ledger, text);
    if (status == LEAT_OK) return true;
    log_write(LOG_DEBUG, "%s; the model's profile starts anew", error.text);
    forget(p);
    return false;
}

/* ---- learning ---- */

static double share_left(double tokens, double half) { return exp2(-tokens / half); }

static void add_phase(profile_phase *p, const phase_tally *t, uint64_t record_bytes)
{
    const double left = share_left((double)t->token_count, half_life);
    const double more[PHASE_NUMBERS] = {(double)t->step_count,
                                        (double)t->token_count,
                                        (double)t->spent.compute_ns * 1e-9,
                                        (double)t->spent.expert_wait_ns * 1e-9,
                                        (double)t->spent.stream_wait_ns * 1e-9,
                                        (double)(t->spent.miss_count * record_bytes),
                                        (double)t->spent.read_bytes,
                                        (double)t->spent.read_busy_ns * 1e-9};
    for (size_t i = 0; i < PHASE_NUMBERS; i++) *phase_number(p, i) = *phase_number(p, i) * left + more[i];
}

static void add_uses(model_profile *p, const run_tally *t)
{
    const double tokens = (double)(t->decode.token_count + t->prefill.token_count);
    const double left = share_left(tokens, uses_half_life);
    p->uses_token_count = p->uses_token_count * left + tokens;
    for (uint64_t key = 0; key < key_count(p); key++) p->uses[key] = p->uses[key] * left + t->uses[key];
}

/* The newest tokens stay, in their order. */
static void add_sample(model_profile *p, const run_tally *t)
{
    const uint32_t added = run_tally_kept(t);
    const uint32_t kept = (uint32_t)min_u64(p->sample_count, ROUTE_SAMPLE_TOKENS - added);
    const uint64_t ids = token_ids(p);
    memmove(p->sample, p->sample + (p->sample_count - kept) * ids, kept * ids * sizeof *p->sample);
    for (uint32_t i = 0; i < added; i++)
        memcpy(p->sample + (kept + i) * ids, run_tally_token(t, i), ids * sizeof *p->sample);
    p->sample_count = kept + added;
    p->chosen_ago += added;
}

/* The sampled tokens [begin, begin + count) as a trace. */
static leat_status sample_trace(const model_profile *p, uint32_t begin, uint32_t count, route_trace *out,
                                leat_error *error)
{
    const uint64_t ids = token_ids(p);
    *out = (route_trace){.ledger = p->ledger,
                         .step_count = count,
                         .token_count = count,
                         .layer_count = p->layer_count,
                         .expert_count = p->expert_count,
                         .used_count = p->used_count,
                         .list_count = (uint64_t)count * p->layer_count,
                         .id_count = count * ids};
    TRY(MEM_NEW(p->ledger, META, out->id_count, &out->ids, error));
    TRY(MEM_NEW(p->ledger, META, out->list_count, &out->lists, error));
    if (p->layer_classes) {
        TRY(MEM_NEW(p->ledger, META, p->layer_count, &out->layer_classes, error));
        memcpy(out->layer_classes, p->layer_classes, p->layer_count);
    }
    for (uint64_t i = 0; i < out->id_count; i++) out->ids[i] = p->sample[begin * ids + i];
    for (uint64_t i = 0; i < out->list_count; i++)
        out->lists[i] = (route_list){.begin = i * p->used_count,
                                     .layer = (uint32_t)(i % p->layer_count),
                                     .count = p->used_count,
                                     .row_count = 1};
    return LEAT_OK;
}

/* Sixteenths of all records; what lies between two sizes goes with the nearer one. */
static leat_status choose_policies(model_profile *p, leat_error *error)
{
    static const uint32_t sixteenths[] = {1, 2, 4, 8, 12};
    const uint32_t tokens = (uint32_t)min_u64(p->sample_count, POLICY_TOKENS);
    policy_choice found[ARRAY_COUNT(sixteenths)];
    uint32_t found_count = 0;
    route_trace t;

    leat_status status = sample_trace(p, p->sample_count - tokens, tokens, &t, error);
    for (size_t i = 0; i < ARRAY_COUNT(sixteenths) && status == LEAT_OK; i++) {
        const uint32_t slots = (uint32_t)(key_count(p) * sixteenths[i] / 16);
        cache_policy policy;
        if (slots < p->used_count) continue;
        status = expert_replay_choose(p->ledger, &t, slots, &policy, error);
        if (status == LEAT_OK) found[found_count++] = (policy_choice){slots, policy};
    }
    route_trace_close(&t);
    if (status != LEAT_OK) return status;
    memcpy(p->choices, found, found_count * sizeof *found);
    p->choice_count = found_count;
    p->chosen_ago = 0;
    return LEAT_OK;
}

bool model_profile_knows_place(const model_profile *p, const profile_place *place, bool with_drive)
{
    return p->place.thread_count == place->thread_count && strcmp(p->place.isa, place->isa) == 0 &&
           (!with_drive || strcmp(p->place.drive, place->drive) == 0);
}

leat_status model_profile_add(model_profile *p, const run_tally *t, const profile_place *place, uint64_t record_bytes,
                              leat_error *error)
{
    if (!model_profile_knows_place(p, place, true)) p->decode = p->prefill = (profile_phase){0};
    p->place = *place;
    add_phase(&p->decode, &t->decode, record_bytes);
    add_phase(&p->prefill, &t->prefill, record_bytes);
    if (!p->layer_count || t->layer_count != p->layer_count) return LEAT_OK;
    add_uses(p, t);
    add_sample(p, t);
    if (p->sample_count < PROFILE_POLICY_TOKENS_MIN) return LEAT_OK;
    if (p->choice_count && p->chosen_ago < PROFILE_POLICY_TOKENS_MIN) return LEAT_OK;
    return choose_policies(p, error);
}

/* ---- writing ---- */

static leat_status write_phase(text_out *out, const char *name, const profile_phase *phase, leat_error *error)
{
    profile_phase copy = *phase;
    TRY(text_out_add(out, error, ",\n\"%s\":{", name));
    for (size_t i = 0; i < PHASE_NUMBERS; i++)
        TRY(text_out_add(out, error, "%s\"%s\":%.9g", i ? "," : "", phase_names[i], *phase_number(&copy, i)));
    return text_out_add(out, error, "}");
}

static leat_status write_routing(text_out *out, const model_profile *p, leat_error *error)
{
    TRY(text_out_add(out, error, ",\n\"shape\":[%u,%u,%u],\"uses_token_count\":%.6g,\"uses\":[", p->layer_count,
                     p->expert_count, p->used_count, p->uses_token_count));
    for (uint64_t key = 0; key < key_count(p); key++)
        TRY(text_out_add(out, error, "%s%.4g", key ? "," : "", p->uses[key]));
    TRY(text_out_add(out, error, "],\n\"chosen_ago\":%u,\"choices\":[", p->chosen_ago));
    for (uint32_t i = 0; i < p->choice_count; i++)
        TRY(text_out_add(out, error, "%s[%u,\"%s\"]", i ? "," : "", p->choices[i].slot_count,
                         cache_policy_label(p->choices[i].policy)));
    TRY(text_out_add(out, error, "],\n\"sample\":["));
    for (uint32_t token = 0; token < p->sample_count; token++) {
        TRY(text_out_add(out, error, token ? ",\n\"" : "\n\""));
        for (uint64_t i = 0; i < token_ids(p); i++) {
            const uint16_t id = p->sample[token * token_ids(p) + i];
            TRY(text_out_add(out, error, "%c%c", digits[id / 64], digits[id % 64]));
        }
        TRY(text_out_add(out, error, "\""));
    }
    return text_out_add(out, error, "]");
}

static leat_status write_all(text_out *out, const model_profile *p, leat_error *error)
{
    TRY(text_out_add(
        out, error, "{\"leat_profile\":%d,\"fingerprint\":\"%s\",\n\"drive\":\"%s\",\"isa\":\"%s\",\"thread_count\":%u",
        FILE_VERSION, p->fingerprint, p->place.drive, p->place.isa, p->place.thread_count));
    TRY(write_phase(out, "decode", &p->decode, error));
    TRY(write_phase(out, "prefill", &p->prefill, error));
    if (p->layer_count) TRY(write_routing(out, p, error));
    return text_out_add(out, error, "}\n");
}

leat_status model_profile_save(const model_profile *p, const char *folder, leat_error *error)
{
    char path[PROFILE_PATH_BYTES];
    text_out out = {.ledger = p->ledger};

    if (!model_profile_path(p, folder, path)) return FAIL(error, IO, "%.64s...: the name is too long", folder);
    leat_status status = write_all(&out, p, error);
    if (status == LEAT_OK) status = file_replace(path, out.text, out.bytes, 0600, error);
    mem_free(p->ledger, out.text);
    return status;
}

/* ---- questions ---- */

static int compare_falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

leat_status model_profile_busiest_quarter(const model_profile *p, double *out_share, leat_error *error)
{
    const uint64_t count = p->uses ? key_count(p) : 0;
    double *sorted, all = 0, busiest = 0;

    *out_share = 0;
    if (!count) return LEAT_OK;
    TRY(MEM_NEW(p->ledger, META, count, &sorted, error));
    memcpy(sorted, p->uses, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_falling);
    for (uint64_t i = 0; i < count; i++) {
        all += sorted[i];
        if (i < (count + 3) / 4) busiest += sorted[i];
    }
    mem_free(p->ledger, sorted);
    if (all > 0) *out_share = busiest / all;
    return LEAT_OK;
}

cache_policy model_profile_policy(const model_profile *p, uint32_t slot_count)
{
    cache_policy best = (cache_policy)CACHE_POLICY_AUTO;
    double nearest = INFINITY;

    for (uint32_t i = 0; i < p->choice_count && slot_count > 0; i++) {
        const double distance = fabs(log2((double)p->choices[i].slot_count / slot_count));
        if (distance >= nearest) continue;
        nearest = distance;
        best = p->choices[i].policy;
    }
    return best;
}

leat_status model_profile_hit_rate(const model_profile *p, uint32_t slot_count, cache_policy policy,
                                   uint32_t warm_count, uint32_t count, double *out_rate, leat_error *error)
{
    const uint64_t wanted = (uint64_t)warm_count + count;
    const uint32_t all = (uint32_t)min_u64(wanted, p->sample_count);
    const uint32_t warm = (uint32_t)min_u64((uint64_t)warm_count * all / max_u64(1, wanted), all ? all - 1 : 0);
    replay_counts before = {0}, after = {0};
    route_trace t;

    leat_status status = sample_trace(p, p->sample_count - all, all, &t, error);
    if (status == LEAT_OK) status = expert_replay(p->ledger, &t, slot_count, policy, false, &after, error);
    t.list_count = (uint64_t)warm * p->layer_count; /* the same from the start, up to there */
    if (status == LEAT_OK && warm) status = expert_replay(p->ledger, &t, slot_count, policy, false, &before, error);
    route_trace_close(&t);
    if (status != LEAT_OK) return status;
    const double hits = (double)(after.hits - before.hits), misses = (double)(after.misses - before.misses);
    *out_rate = hits + misses > 0 ? hits / (hits + misses) : 0;
    return LEAT_OK;
}

double model_profile_touched(const model_profile *p, uint32_t token_count)
{
    double sum = 0;
    if (!p->uses || !(p->uses_token_count > 0)) return 0;
    for (uint64_t key = 0; key < key_count(p); key++)
        sum += 1 - pow(fmax(0, 1 - p->uses[key] / p->uses_token_count), token_count);
    return sum;
}
