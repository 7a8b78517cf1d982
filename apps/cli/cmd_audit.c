/*
 * cmd_audit.c - leat audit FILE [OTHER]: verifies the chain of an audit, and says where two runs part.
 *
 * What a token was computed from comes before what was computed: a token that differs explains different experts, and
 * those explain different logits. So the first difference is looked for in that order, within the first position that
 * has one.
 */
#include "audit_reader.h"
#include "cli.h"
#include "exit_codes.h"
#include "json_writer.h"

#include <string.h>

typedef struct difference {
    const char *what; /* NULL: none; "model", "length", "token", "layers", "experts", "weights", "logits" */
    uint64_t position;
    uint32_t layer; /* for experts and weights */
    text_span a, b;
} difference;

typedef struct audit_work {
    cli *c;
    audit_reader readers[2];
    audit_line lines[2];
    uint32_t count; /* of files */
    bool sampling_differs;
    difference first;
} audit_work;

static bool is_same(text_span a, text_span b)
{
    return a.count == b.count && (a.count == 0 || memcmp(a.bytes, b.bytes, a.count) == 0);
}

static bool is_null(text_span s) { return s.count == 0 || (s.count == 4 && memcmp(s.bytes, "null", 4) == 0); }

/* Takes the next element of an array of arrays ("[[1,2],[3]]") or of strings off the front of its text. */
static bool take_element(text_span *rest, text_span *out)
{
    if (rest->count == 0) return false;
    const char *at = rest->bytes, *end = rest->bytes + rest->count;
    while (at < end && (*at == '[' || *at == ',' || *at == ' ')) at++;
    if (at >= end || *at == ']') return false;
    const char *begin = at;
    bool is_text = *at == '"';
    if (is_text) at++;
    while (at < end && *at != (is_text ? '"' : ']')) at++;
    *out = (text_span){begin + is_text, (size_t)(at - begin) - is_text};
    if (at < end) at++;
    *rest = (text_span){at, (size_t)(end - at)};
    return true;
}

/* The first layer in which two arrays differ. */
static bool find_layer(text_span a, text_span b, const char *what, difference *out)
{
    text_span x = {0}, y = {0};
    for (uint32_t layer = 0;; layer++) {
        bool has_x = take_element(&a, &x), has_y = take_element(&b, &y);
        if (!has_x && !has_y) return false;
        if (has_x && has_y && is_same(x, y)) continue;
        *out = (difference){.what = has_x && has_y ? what : "layers", .layer = layer, .a = x, .b = y};
        return true;
    }
}

static uint64_t number_of(text_span s)
{
    uint64_t value = 0;
    for (size_t i = 0; i < s.count && s.bytes[i] >= '0' && s.bytes[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(s.bytes[i] - '0');
    return value;
}

static difference compare_tokens(const audit_line *a, const audit_line *b)
{
    difference d = {0};
    if (!is_same(a->token, b->token) || !is_same(a->position, b->position))
        d = (difference){.what = "token", .a = a->token, .b = b->token};
    else if (!find_layer(a->experts, b->experts, "experts", &d) && !find_layer(a->weights, b->weights, "weights", &d)) {
        if (!is_same(a->routes, b->routes)) /* digits of a weight that its short digest does not show */
            d = (difference){.what = "routes", .a = a->routes, .b = b->routes};
        else if (!is_null(a->logits) && !is_null(b->logits) && !is_same(a->logits, b->logits))
            d = (difference){.what = "logits", .a = a->logits, .b = b->logits};
    }
    d.position = number_of(a->position);
    return d;
}

static void compare_lines(audit_work *work)
{
    const audit_line *a = &work->lines[0], *b = &work->lines[1];
    if (a->kind == AUDIT_TOKEN && b->kind == AUDIT_TOKEN)
        work->first = compare_tokens(a, b);
    else if (a->kind != b->kind)
        work->first =
            (difference){.what = "length", .position = work->readers[a->kind == AUDIT_END ? 0 : 1].token_count};
    else if (!is_same(a->end, b->end))
        work->first = (difference){.what = "end", .position = work->readers[0].token_count, .a = a->end, .b = b->end};
}

/* The lines are dropped when the next ones are read. */
static leat_status keep_difference(audit_work *work, leat_error *error)
{
    text_span *spans[] = {&work->first.a, &work->first.b};
    for (int i = 0; i < 2; i++)
        if (spans[i]->bytes)
            TRY(arena_copy_text(&work->c->memory, spans[i]->bytes, spans[i]->count, &spans[i]->bytes, error));
    return LEAT_OK;
}

/* Every line of both files is verified, also those after the first difference. */
static leat_status read_files(audit_work *work, leat_error *error)
{
    audit_reader *r = work->readers;
    for (;;) {
        bool is_done = true, both = work->count == 2 && !r[0].is_ended && !r[1].is_ended;
        for (uint32_t i = 0; i < work->count; i++) {
            if (r[i].is_ended) continue;
            TRY(audit_reader_next(&r[i], &work->lines[i], error));
            is_done = false;
        }
        if (is_done) return LEAT_OK;
        if (!both || work->first.what) continue;
        compare_lines(work);
        TRY(keep_difference(work, error));
    }
}

static void compare_headers(audit_work *work)
{
    const audit_line *a = &work->lines[0], *b = &work->lines[1];
    if (!is_same(a->model, b->model)) work->first = (difference){.what = "model", .a = a->model, .b = b->model};
    work->sampling_differs = !is_same(a->sampling, b->sampling);
}

/* ---- telling ---- */

static void print_span(cli *c, text_span s) { output_write(&c->out, s.bytes, s.count); }

static void print_pair(cli *c, const char *text, const difference *d)
{
    output_print(&c->out, "%s", text);
    print_span(c, d->a);
    output_print(&c->out, " in A, ");
    print_span(c, d->b);
    output_print(&c->out, " in B\n");
}

static void print_difference(audit_work *work)
{
    cli *c = work->c;
    const difference *d = &work->first;
    if (work->sampling_differs) {
        output_print(&c->out, "the settings of sampling differ\n");
        if (!d->what)
            output_print(&c->out, "all %llu tokens are equal\n", (unsigned long long)work->readers[0].token_count);
    }
    if (!d->what) return;
    if (strcmp(d->what, "model") == 0) {
        print_pair(c, "the models differ: ", d);
        return;
    }
    output_print(&c->out, "the runs part at position %llu: ", (unsigned long long)d->position);
    if (strcmp(d->what, "length") == 0)
        output_print(&c->out, "%s ends, the other goes on\n",
                     work->readers[0].token_count < work->readers[1].token_count ? "A" : "B");
    else if (strcmp(d->what, "layers") == 0)
        output_print(&c->out, "one has %u layers with experts, the other more\n", d->layer);
    else if (strcmp(d->what, "experts") == 0) {
        output_print(&c->out, "the experts differ in layer %u of those with experts: ", d->layer);
        print_pair(c, "", d);
    } else if (strcmp(d->what, "weights") == 0)
        output_print(&c->out, "the experts' weights differ in layer %u of those with experts\n", d->layer);
    else if (strcmp(d->what, "logits") == 0)
        output_print(&c->out, "the logits differ\n");
    else {
        output_print(&c->out, "the %s differs: ", d->what);
        print_pair(c, "", d);
    }
}

static void write_span(json_writer *w, const char *key, text_span s)
{
    if (s.count > 1 && s.bytes[0] == '"') s = (text_span){s.bytes + 1, s.count - 2};
    if (s.bytes)
        json_writer_bytes(w, key, s.bytes, s.count);
    else
        json_writer_text(w, key, NULL);
}

static void print_json(audit_work *work, bool is_equal, const char chain[DIGEST_HEX_BYTES])
{
    const difference *d = &work->first;
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.audit-result/1");
    json_writer_u64(&w, "token_count", work->readers[0].token_count);
    json_writer_text(&w, "chain", chain);
    if (work->count == 2) {
        json_writer_flag(&w, "is_equal", is_equal);
        json_writer_flag(&w, "sampling_differs", work->sampling_differs);
        json_writer_begin_object(&w, "difference");
        json_writer_text(&w, "what", d->what);
        if (d->what) {
            json_writer_u64(&w, "position", d->position);
            json_writer_u64(&w, "layer", d->layer);
            write_span(&w, "a", d->a);
            write_span(&w, "b", d->b);
        }
        json_writer_end_object(&w);
    }
    json_writer_end_document(&w);
}

static leat_status audit(audit_work *work, leat_error *error)
{
    cli *c = work->c;
    char chain[DIGEST_HEX_BYTES];
    for (const char *path; work->count < 2 && (path = cli_take_word(c)); work->count++)
        TRY(audit_reader_open(&work->readers[work->count], c->ledger, path, &work->lines[work->count], error));
    TRY(cli_refuse_rest(c, error));
    if (work->count == 0) {
        leat_status status = FAIL(error, USAGE, "leat audit needs a file");
        status_hint(error, "usage: leat audit [options] A [B]; leat run --audit FILE writes one");
        return status;
    }
    if (work->count == 2) compare_headers(work);
    TRY(keep_difference(work, error));
    TRY(read_files(work, error));
    bool is_equal = !work->first.what && !work->sampling_differs;
    audit_hex(work->readers[0].chain.last, DIGEST_BYTES, chain);
    if (c->options.json)
        print_json(work, is_equal, chain);
    else if (is_equal)
        output_print(&c->out, "%s: %llu tokens, chain %s\n", work->count == 2 ? "equal" : "sound",
                     (unsigned long long)work->readers[0].token_count, chain);
    else
        print_difference(work);
    c->exit_code = is_equal ? 0 : EXIT_DIFFERENT;
    return LEAT_OK;
}

leat_status cmd_audit(cli *c, leat_error *error)
{
    audit_work work = {.c = c};
    leat_status status = audit(&work, error);
    for (int i = 0; i < 2; i++) audit_reader_close(&work.readers[i]);
    return status;
}
