/*
 * fuzz_chat.c - any bytes as the request of a conversation. What must hold: it is refused as a bad argument, or its
 * messages are JSON again; what is rendered is cut into ranges without gaps; the ids hold the control tokens that stand
 * in the ranges that are not data, in their order, and no others, and decode to the rendered text. Unless the request
 * brings special tokens, whose texts are not data, those are the ones in the template, however the request is worded.
 */
#include "fuzz/fuzz.h"

#include "base/json.h"
#include "text/chat_prompt.h"
#include "text/chat_input.h"

#include <stdio.h>
#include <string.h>

const char *const fuzz_words[] = {"{\"messages\": [",
                                  "{\"role\": \"user\", ",
                                  "\"content\": ",
                                  "\"",
                                  "\"}",
                                  "]}",
                                  ", ",
                                  "null",
                                  "true",
                                  "{\"text\": ",
                                  "\"reasoning\": ",
                                  "\"thinking\": ",
                                  "\"reasoning_content\": ",
                                  "\"tools\": [{\"name\": ",
                                  "\"documents\": [{\"text\": ",
                                  "\"kwargs\": {\"extra\": ",
                                  "\"continue_final_message\": true",
                                  "\"add_generation_prompt\": false",
                                  "\"special_tokens\": {\"bos_token\": ",
                                  "\"now\": \"2026-03-04T05:06:07\"",
                                  "CONTINUE_FINAL_MESSAGE_TAG ",
                                  "<b>",
                                  "<s>",
                                  "</s>",
                                  "<",
                                  "b>",
                                  "x</s>",
                                  "<s",
                                  ">",
                                  "\\u003cb\\u003e",
                                  "\\n",
                                  " ",
                                  "user",
                                  NULL};

/* What is written for a message; two pieces of data that stand side by side, and one inside of a token's text. */
static const char template_text[] =
    "<b>{% for m in messages %}<s>{{ m.role }}{{ m.content }}{{ m.reasoning_content }}</s>{% endfor %}"
    "{{ tools }}{{ documents | tojson }}<{{ extra }}>";

static const char *const controls[] = {"<b>", "<s>", "</s>", "x</s>", "<user>"};
enum { CONTROL_BASE = 300, CONTROL_COUNT = 5 };

static tokenizer *open_small(mem *ledger)
{
    static char text[16384];
    tokenizer *t = NULL;
    size_t at = (size_t)snprintf(text, sizeof text, "{\"added_tokens\": [");
    for (unsigned i = 0; i < CONTROL_COUNT; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s{\"id\": %u, \"content\": \"%s\", \"special\": true}",
                               i == 0 ? "" : ", ", CONTROL_BASE + i, controls[i]);
    at += (size_t)snprintf(
        text + at, sizeof text - at,
        "], \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]}, "
        "\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"merges\": [], \"vocab\": {");
    for (unsigned i = 0; i < 256; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\"<0x%02X>\": %u", i == 0 ? "" : ", ", i, i);
    at += (size_t)snprintf(text + at, sizeof text - at, "}}}");
    FUZZ_CHECK(tokenizer_open(ledger, "small", text, at, 0, &t, NULL) == LEAT_OK);
    return t;
}

static void check_json(mem *ledger, const text_buffer *text)
{
    json *parser = NULL;
    json_token token = {0};
    json_limits limits = json_limits_default;
    limits.depth_max = JSON_DEPTH_MAX;
    limits.allow_nonfinite = true;
    FUZZ_CHECK(json_open(ledger, MEM_META, "messages", text->bytes, text->count, &limits, &parser, NULL) == LEAT_OK);
    while (token.kind != JSON_END)
        if (json_next(parser, &token, NULL) != LEAT_OK) break; /* a key twice, which the additions may cause */
    json_close(&parser);
}

static void check_ranges(const jinja_output *out)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < out->segment_count; i++) {
        FUZZ_CHECK(out->segments[i].begin == at && out->segments[i].end > at);
        FUZZ_CHECK(i == 0 || out->segments[i].is_data != out->segments[i - 1].is_data);
        at = out->segments[i].end;
    }
    FUZZ_CHECK(at == out->text.count);
}

/* <b>, then <s> and </s> by turns; at the end perhaps <user>, where the template builds it around a role's name. */
static void check_order(const token_list *ids, bool is_cut)
{
    uint64_t count = 0;
    bool is_over = false;
    for (uint64_t i = 0; i < ids->count; i++) {
        if (ids->ids[i] < CONTROL_BASE) continue;
        FUZZ_CHECK(!is_over);
        is_over = ids->ids[i] == CONTROL_BASE + 4;
        if (!is_over) FUZZ_CHECK(ids->ids[i] == CONTROL_BASE + (count == 0 ? 0 : count % 2 == 1 ? 1 : 2));
        if (!is_over) count++;
    }
    FUZZ_CHECK(is_cut || count % 2 == 1);
}

/* The longest control token that begins with `text`; CONTROL_COUNT: none does. */
static unsigned control_at(const char *text, uint64_t count)
{
    unsigned best = CONTROL_COUNT;
    for (unsigned i = 0; i < CONTROL_COUNT; i++) {
        const size_t bytes = strlen(controls[i]);
        if (bytes > count || memcmp(text, controls[i], bytes) != 0) continue;
        if (best == CONTROL_COUNT || bytes > strlen(controls[best])) best = i;
    }
    return best;
}

static bool is_user(const char *text, uint64_t count) { return count == 4 && memcmp(text, "user", 4) == 0; }

/* The control tokens are those that stand in what is not data, searched for byte by byte. A special token's text counts
 * as the template's, whatever the request says it is. */
static void check_controls(const token_list *ids, const jinja_output *out)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < out->segment_count; i++) {
        const jinja_segment *first = &out->segments[i];
        const char *text = out->text.bytes;
        if (first->is_data && !is_user(text + first->begin, first->end - first->begin)) continue;
        uint64_t end = first->end;
        while (i + 1 < out->segment_count &&
               (!out->segments[i + 1].is_data ||
                is_user(text + out->segments[i + 1].begin, out->segments[i + 1].end - out->segments[i + 1].begin)))
            end = out->segments[++i].end;
        for (uint64_t place = first->begin; place < end;) {
            const unsigned control = control_at(text + place, end - place);
            place += control == CONTROL_COUNT ? 1 : strlen(controls[control]);
            if (control == CONTROL_COUNT) continue;
            while (at < ids->count && ids->ids[at] < CONTROL_BASE) at++;
            FUZZ_CHECK(at < ids->count && ids->ids[at] == CONTROL_BASE + control);
            at++;
        }
    }
    for (; at < ids->count; at++) FUZZ_CHECK(ids->ids[at] < CONTROL_BASE);
}

static void check_ids(const tokenizer *t, const jinja_template *compiled, const chat_input *r, const jinja_output *out)
{
    mem *ledger = out->ledger;
    chat_controls *c = NULL;
    token_list ids;
    text_buffer decoded;
    token_list_init(&ids, ledger);
    text_buffer_init(&decoded, ledger);
    FUZZ_CHECK(chat_controls_open(ledger, t, compiled, NULL, &c, NULL) == LEAT_OK);
    FUZZ_CHECK(chat_prompt_encode(c, out, &ids, NULL) == LEAT_OK);
    check_controls(&ids, out);
    if (r->special_tokens.bytes == NULL) check_order(&ids, r->continues);
    FUZZ_CHECK(tokenizer_decode(t, ids.ids, ids.count, false, &decoded, NULL) == LEAT_OK);
    FUZZ_CHECK(decoded.count == out->text.count);
    FUZZ_CHECK(decoded.count == 0 || memcmp(decoded.bytes, out->text.bytes, decoded.count) == 0);
    chat_controls_close(&c);
    token_list_reset(&ids);
    text_buffer_reset(&decoded);
}

/* What every input is read with, made once. */
typedef struct bench {
    mem *ledger;
    tokenizer *t;
    jinja_template *compiled;
} bench;

static const text_slice source = {template_text, sizeof template_text - 1};

static const bench *open_bench(void)
{
    static bench b;
    if (b.ledger != NULL) return &b;
    FUZZ_CHECK(mem_open(UINT64_C(64) << 20, &b.ledger, NULL) == LEAT_OK);
    FUZZ_CHECK(jinja_open(b.ledger, "fuzz", source.bytes, source.count, NULL, &b.compiled, NULL, NULL) == LEAT_OK);
    b.t = open_small(b.ledger);
    return &b;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    const bench *b = open_bench();
    mem *ledger = NULL;
    jinja_output out;
    chat_input r;
    FUZZ_CHECK(mem_open(UINT64_C(256) << 20, &ledger, NULL) == LEAT_OK);
    jinja_output_init(&out, ledger);
    leat_status status = chat_input_read(ledger, (const char *)bytes, count, &r, NULL);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_USAGE);
    if (status == LEAT_OK) {
        check_json(ledger, &r.messages);
        status = chat_input_render(&r, b->compiled, source, (text_slice){0}, 0, &out, NULL, NULL);
        FUZZ_CHECK(status == LEAT_OK || status == LEAT_USAGE);
        check_ranges(&out);
        if (status == LEAT_OK) check_ids(b->t, b->compiled, &r, &out);
        chat_input_reset(&r);
    }
    jinja_output_reset(&out);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}
