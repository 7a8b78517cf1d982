/*
 * tokenizer_load.c - from the bytes of a tokenizer.json to a tokenizer.
 *
 * The file of a large model has a quarter of a million tokens and half a million merges; it is read as a stream of
 * events and never held as a tree. The order of its fields is free: merges that come before the vocabulary are skipped
 * and read in a second pass, everything else is stored until the end and joined there.
 *
 * What the file asks for and we do not know is refused by its name. The components (normalizers, pre-tokenizers,
 * decoders) are read by one table-driven reader: `fields` says which values exist, `rules` which component may have
 * which.
 */
#include "text/tokenizer_parts.h"

#include "base/bytes.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/unicode_class.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { TEMPLATE_NAMES_MAX = 64 };

/* One entry of a post-processor's template: the text itself, or a special token by name. */
typedef struct template_piece {
    bool is_text;
    const char *name;
} template_piece;

typedef struct post_template {
    template_piece pieces[TEMPLATE_NAMES_MAX];
    uint32_t piece_count;
    struct {
        const char *name;
        uint32_t ids[TEMPLATE_NAMES_MAX];
        uint32_t id_count;
    } tokens[TEMPLATE_NAMES_MAX];
    uint32_t token_count;
} post_template;

typedef struct loader {
    tokenizer *t;
    json *parser;
    leat_error *error;
    uint32_t vocab_count; /* 0 = not known */

    uint64_t added_capacity;
    bool has_model, has_vocab, has_merges, merges_are_pending, vocab_is_list;
    text_slice unk_token; /* bytes NULL: none */
    uint32_t decode_phase;
} loader;

static leat_status next(loader *l, json_token *out_token) { return json_next(l->parser, out_token, l->error); }

#define FAIL_AT(l, token, ...) json_fail_at((l)->parser, (token)->offset, (l)->error, __VA_ARGS__)

static leat_status expect(loader *l, const json_token *token, json_kind kind, const char *what, const char *wanted)
{
    if (token->kind == kind) return LEAT_OK;
    return FAIL_AT(l, token, "%s: expected %s", what, wanted);
}

/* Puts the file's name before the message of a part that does not know it. */
static leat_status named(loader *l, leat_status status)
{
    if (status == LEAT_MODEL) status_prefix(l->error, "%s", l->t->name);
    return status;
}

static vocabulary_quote quote(const json_token *token) { return vocabulary_cut(token->text, token->text_bytes); }

static leat_status copy_text(loader *l, const json_token *token, text_slice *out_text)
{
    const char *copy;
    TRY(arena_copy_text(&l->t->storage, token->text, token->text_bytes, &copy, l->error));
    *out_text = (text_slice){copy, token->text_bytes};
    return LEAT_OK;
}

static leat_status read_bool(loader *l, const char *what, bool *out_value)
{
    json_token token;
    TRY(next(l, &token));
    if (token.kind != JSON_TRUE && token.kind != JSON_FALSE)
        return FAIL_AT(l, &token, "%s: expected true or false", what);
    *out_value = token.kind == JSON_TRUE;
    return LEAT_OK;
}

/* A token id, checked against the limits. `text` is the token's, for the message. */
static leat_status read_id(loader *l, const json_token *token, vocabulary_quote text, uint32_t *out_id)
{
    uint64_t id;
    if (token->kind != JSON_NUMBER || !json_to_u64(token, &id))
        return FAIL_AT(l, token, "the id of token \"%s\" is not a whole number", text.text);
    if (l->vocab_count != 0 && id >= l->vocab_count)
        return FAIL_AT(l, token, "token \"%s\" has id %" PRIu64 ", but the model has %" PRIu32 " tokens", text.text, id,
                       l->vocab_count);
    if (id >= VOCABULARY_ID_LIMIT)
        return FAIL_AT(l, token, "token \"%s\" has id %" PRIu64 "; ids up to %d are supported", text.text, id,
                       VOCABULARY_ID_LIMIT - 1);
    *out_id = (uint32_t)id;
    return LEAT_OK;
}

/* ---- components ---- */

typedef enum field {
    FIELD_PATTERN,
    FIELD_CONTENT,
    FIELD_PREPEND,
    FIELD_STRIP_LEFT,
    FIELD_STRIP_RIGHT,
    FIELD_BEHAVIOR,
    FIELD_INVERT,
    FIELD_ADD_PREFIX_SPACE,
    FIELD_TRIM_OFFSETS,
    FIELD_USE_REGEX,
    FIELD_REPLACEMENT,
    FIELD_STR_REP,
    FIELD_PREPEND_SCHEME,
    FIELD_SPLIT,
    FIELD_INDIVIDUAL_DIGITS,
    FIELD_START,
    FIELD_STOP,
    FIELD_CHILDREN,
    FIELD_COUNT
} field;

typedef enum field_form { FORM_TEXT, FORM_BOOL, FORM_COUNT, FORM_PATTERN, FORM_LIST } field_form;

static const struct {
    const char *name;
    field field;
    field_form form;
} fields[] = {
    {"pattern", FIELD_PATTERN, FORM_PATTERN},
    {"content", FIELD_CONTENT, FORM_TEXT},
    {"prepend", FIELD_PREPEND, FORM_TEXT},
    {"strip_left", FIELD_STRIP_LEFT, FORM_BOOL},
    {"strip_right", FIELD_STRIP_RIGHT, FORM_BOOL},
    {"behavior", FIELD_BEHAVIOR, FORM_TEXT},
    {"invert", FIELD_INVERT, FORM_BOOL},
    {"add_prefix_space", FIELD_ADD_PREFIX_SPACE, FORM_BOOL},
    {"trim_offsets", FIELD_TRIM_OFFSETS, FORM_BOOL},
    {"use_regex", FIELD_USE_REGEX, FORM_BOOL},
    {"replacement", FIELD_REPLACEMENT, FORM_TEXT},
    {"str_rep", FIELD_STR_REP, FORM_TEXT},
    {"prepend_scheme", FIELD_PREPEND_SCHEME, FORM_TEXT},
    {"split", FIELD_SPLIT, FORM_BOOL},
    {"individual_digits", FIELD_INDIVIDUAL_DIGITS, FORM_BOOL},
    {"start", FIELD_START, FORM_COUNT},
    {"stop", FIELD_STOP, FORM_COUNT},
    {"normalizers", FIELD_CHILDREN, FORM_LIST},
    {"pretokenizers", FIELD_CHILDREN, FORM_LIST},
    {"decoders", FIELD_CHILDREN, FORM_LIST},
};

#define BIT(field) (1u << (field))

typedef enum component_type {
    TYPE_SEQUENCE,
    TYPE_REPLACE,
    TYPE_PREPEND,
    TYPE_STRIP_NORMALIZER,
    TYPE_NFC,
    TYPE_NFD,
    TYPE_NFKC,
    TYPE_NFKD,
    TYPE_SPLIT,
    TYPE_BYTE_LEVEL,
    TYPE_METASPACE,
    TYPE_DIGITS,
    TYPE_PUNCTUATION,
    TYPE_WHITESPACE_SPLIT,
    TYPE_BYTE_FALLBACK,
    TYPE_FUSE,
    TYPE_STRIP_DECODER,
} component_type;

typedef enum section { SECTION_NORMALIZER, SECTION_PRE_TOKENIZER, SECTION_DECODER, SECTION_COUNT } section;

static const char *const section_names[SECTION_COUNT] = {"normalizer", "pre_tokenizer", "decoder"};

#define BYTE_LEVEL_FIELDS (BIT(FIELD_ADD_PREFIX_SPACE) | BIT(FIELD_TRIM_OFFSETS) | BIT(FIELD_USE_REGEX))
#define METASPACE_FIELDS                                                                                               \
    (BIT(FIELD_REPLACEMENT) | BIT(FIELD_STR_REP) | BIT(FIELD_PREPEND_SCHEME) | BIT(FIELD_ADD_PREFIX_SPACE) |           \
     BIT(FIELD_SPLIT))

static const struct {
    section section;
    const char *name;
    component_type type;
    uint32_t allowed, needed; /* bits of fields; needed ones are allowed too */
} rules[] = {
    {SECTION_NORMALIZER, "Sequence", TYPE_SEQUENCE, 0, BIT(FIELD_CHILDREN)},
    {SECTION_NORMALIZER, "Replace", TYPE_REPLACE, 0, BIT(FIELD_PATTERN) | BIT(FIELD_CONTENT)},
    {SECTION_NORMALIZER, "Prepend", TYPE_PREPEND, 0, BIT(FIELD_PREPEND)},
    {SECTION_NORMALIZER, "Strip", TYPE_STRIP_NORMALIZER, 0, BIT(FIELD_STRIP_LEFT) | BIT(FIELD_STRIP_RIGHT)},
    {SECTION_NORMALIZER, "NFC", TYPE_NFC, 0, 0},
    {SECTION_NORMALIZER, "NFD", TYPE_NFD, 0, 0},
    {SECTION_NORMALIZER, "NFKC", TYPE_NFKC, 0, 0},
    {SECTION_NORMALIZER, "NFKD", TYPE_NFKD, 0, 0},
    {SECTION_PRE_TOKENIZER, "Sequence", TYPE_SEQUENCE, 0, BIT(FIELD_CHILDREN)},
    {SECTION_PRE_TOKENIZER, "Split", TYPE_SPLIT, BIT(FIELD_INVERT), BIT(FIELD_PATTERN) | BIT(FIELD_BEHAVIOR)},
    {SECTION_PRE_TOKENIZER, "ByteLevel", TYPE_BYTE_LEVEL, BYTE_LEVEL_FIELDS, 0},
    {SECTION_PRE_TOKENIZER, "Metaspace", TYPE_METASPACE, METASPACE_FIELDS, BIT(FIELD_REPLACEMENT)},
    {SECTION_PRE_TOKENIZER, "Digits", TYPE_DIGITS, BIT(FIELD_INDIVIDUAL_DIGITS), 0},
    {SECTION_PRE_TOKENIZER, "Punctuation", TYPE_PUNCTUATION, BIT(FIELD_BEHAVIOR), 0},
    {SECTION_PRE_TOKENIZER, "WhitespaceSplit", TYPE_WHITESPACE_SPLIT, 0, 0},
    {SECTION_DECODER, "Sequence", TYPE_SEQUENCE, 0, BIT(FIELD_CHILDREN)},
    {SECTION_DECODER, "Replace", TYPE_REPLACE, 0, BIT(FIELD_PATTERN) | BIT(FIELD_CONTENT)},
    {SECTION_DECODER, "ByteFallback", TYPE_BYTE_FALLBACK, 0, 0},
    {SECTION_DECODER, "Fuse", TYPE_FUSE, 0, 0},
    {SECTION_DECODER, "Strip", TYPE_STRIP_DECODER, BIT(FIELD_START) | BIT(FIELD_STOP), BIT(FIELD_CONTENT)},
    {SECTION_DECODER, "ByteLevel", TYPE_BYTE_LEVEL, BYTE_LEVEL_FIELDS, 0},
    {SECTION_DECODER, "Metaspace", TYPE_METASPACE, METASPACE_FIELDS, BIT(FIELD_REPLACEMENT)},
};

/* One component as the file states it. */
typedef struct component {
    section section;
    component_type type;
    uint64_t offset; /* of its first byte, for messages */
    uint32_t seen;   /* bits of fields */
    text_slice texts[FIELD_COUNT];
    bool flags[FIELD_COUNT];
    uint32_t counts[FIELD_COUNT];
    bool pattern_is_expression;
} component;

#define FAIL_COMPONENT(l, c, ...) json_fail_at((l)->parser, (c)->offset, (l)->error, __VA_ARGS__)

static leat_status read_component(loader *l, section where, const json_token *first, uint32_t depth);

static bool flag_or(const component *c, field f, bool otherwise)
{
    return (c->seen & BIT(f)) != 0 ? c->flags[f] : otherwise;
}

static bool text_is(text_slice text, const char *wanted)
{
    return text.count == strlen(wanted) && memcmp(text.bytes, wanted, text.count) == 0;
}

static leat_status open_expression(loader *l, text_slice pattern, regex **out_expression)
{
    tokenizer *t = l->t;
    assert(t->expression_count < ARRAY_COUNT(t->expressions));
    regex **slot = &t->expressions[t->expression_count];
    TRY(regex_open(t->ledger, t->name, pattern.bytes, pattern.count, slot, l->error));
    t->expression_count++;
    *out_expression = *slot;
    return LEAT_OK;
}

/* {"String": "..."} or {"Regex": "..."} */
static leat_status read_pattern(loader *l, component *c)
{
    json_token token;
    const char *name = section_names[c->section];
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, name, "a pattern object"));
    TRY(next(l, &token));
    if (token.kind != JSON_KEY || (!json_text_is(&token, "String") && !json_text_is(&token, "Regex")))
        return FAIL_AT(l, &token, "%s: a pattern is a String or a Regex", name);
    c->pattern_is_expression = json_text_is(&token, "Regex");
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_STRING, name, "the pattern's text"));
    if (token.text_bytes == 0) return FAIL_AT(l, &token, "%s: an empty pattern is not supported", name);
    TRY(copy_text(l, &token, &c->texts[FIELD_PATTERN]));
    TRY(next(l, &token));
    return expect(l, &token, JSON_OBJECT_END, name, "the end of the pattern object");
}

static leat_status read_children(loader *l, section where, uint32_t depth)
{
    json_token token;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_ARRAY_BEGIN, section_names[where], "a list of components"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_component(l, where, &token, depth + 1));
    }
}

static leat_status read_field(loader *l, component *c, size_t idx, uint32_t depth)
{
    json_token token;
    uint64_t count;
    field f = fields[idx].field;
    const char *name = section_names[c->section];
    c->seen |= BIT(f);
    switch (fields[idx].form) {
    case FORM_TEXT:
        TRY(next(l, &token));
        TRY(expect(l, &token, JSON_STRING, fields[idx].name, "a string"));
        return copy_text(l, &token, &c->texts[f]);
    case FORM_BOOL: return read_bool(l, fields[idx].name, &c->flags[f]);
    case FORM_COUNT:
        TRY(next(l, &token));
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &count) || count > UINT16_MAX)
            return FAIL_AT(l, &token, "%s: %s is not a count up to %d", name, fields[idx].name, UINT16_MAX);
        c->counts[f] = (uint32_t)count;
        return LEAT_OK;
    case FORM_PATTERN: return read_pattern(l, c);
    case FORM_LIST: return read_children(l, c->section, depth);
    }
    return FAIL(l->error, INTERNAL, "a field of form %d", (int)fields[idx].form);
}

static leat_status add_normalizer(loader *l, const component *c)
{
    tokenizer *t = l->t;
    if (t->normalize_count == TEXT_STEPS_MAX)
        return FAIL_COMPONENT(l, c, "normalizer: more than %d steps are not supported", TEXT_STEPS_MAX);
    normalize_step *step = &t->normalize[t->normalize_count];
    *step = (normalize_step){0};
    switch (c->type) {
    case TYPE_REPLACE:
        step->kind = NORMALIZE_REPLACE;
        step->pattern = c->texts[FIELD_PATTERN];
        step->content = c->texts[FIELD_CONTENT];
        if (c->pattern_is_expression) TRY(open_expression(l, step->pattern, &step->expression));
        break;
    case TYPE_PREPEND:
        step->kind = NORMALIZE_PREPEND;
        step->content = c->texts[FIELD_PREPEND];
        break;
    case TYPE_STRIP_NORMALIZER:
        step->kind = NORMALIZE_STRIP;
        step->strip_left = c->flags[FIELD_STRIP_LEFT];
        step->strip_right = c->flags[FIELD_STRIP_RIGHT];
        break;
    default:
        step->kind = NORMALIZE_UNICODE;
        step->compose = c->type == TYPE_NFC || c->type == TYPE_NFKC;
        step->compatible = c->type == TYPE_NFKC || c->type == TYPE_NFKD;
        break;
    }
    t->normalize_count++;
    return LEAT_OK;
}

static leat_status read_behaviour(loader *l, const component *c, split_behaviour *out_behaviour)
{
    static const struct {
        const char *name;
        split_behaviour behaviour;
    } names[] = {{"Isolated", SPLIT_ISOLATED},
                 {"Removed", SPLIT_REMOVED},
                 {"MergedWithPrevious", SPLIT_MERGED_WITH_PREVIOUS},
                 {"MergedWithNext", SPLIT_MERGED_WITH_NEXT},
                 {"Contiguous", SPLIT_CONTIGUOUS}};
    *out_behaviour = SPLIT_ISOLATED;
    if ((c->seen & BIT(FIELD_BEHAVIOR)) == 0) return LEAT_OK;
    text_slice text = c->texts[FIELD_BEHAVIOR];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (text_is(text, names[i].name)) {
            *out_behaviour = names[i].behaviour;
            return LEAT_OK;
        }
    vocabulary_quote shown = vocabulary_cut(text.bytes, text.count);
    return FAIL_COMPONENT(l, c, "pre_tokenizer: behavior \"%s\" is not known", shown.text);
}

/* Older files say add_prefix_space, newer ones prepend_scheme. */
static leat_status read_prepend_scheme(loader *l, const component *c, prepend_scheme *out_scheme)
{
    text_slice text = c->texts[FIELD_PREPEND_SCHEME];
    *out_scheme = flag_or(c, FIELD_ADD_PREFIX_SPACE, true) ? PREPEND_ALWAYS : PREPEND_NEVER;
    if ((c->seen & BIT(FIELD_PREPEND_SCHEME)) == 0) return LEAT_OK;
    if (text_is(text, "always"))
        *out_scheme = PREPEND_ALWAYS;
    else if (text_is(text, "first"))
        *out_scheme = PREPEND_FIRST;
    else if (text_is(text, "never"))
        *out_scheme = PREPEND_NEVER;
    else {
        vocabulary_quote shown = vocabulary_cut(text.bytes, text.count);
        return FAIL_COMPONENT(l, c, "%s: prepend_scheme \"%s\" is not known", section_names[c->section], shown.text);
    }
    if ((c->seen & BIT(FIELD_ADD_PREFIX_SPACE)) != 0 &&
        c->flags[FIELD_ADD_PREFIX_SPACE] != (*out_scheme != PREPEND_NEVER))
        return FAIL_COMPONENT(l, c, "%s: add_prefix_space contradicts prepend_scheme", section_names[c->section]);
    return LEAT_OK;
}

static bool is_one_character(text_slice text)
{
    uint32_t scalar;
    return text.count > 0 && utf8_decode(text.bytes, text.count, &scalar, NULL) == text.count;
}

static leat_status check_metaspace(loader *l, const component *c)
{
    if (!is_one_character(c->texts[FIELD_REPLACEMENT]))
        return FAIL_COMPONENT(l, c, "%s: the replacement of Metaspace is not one character", section_names[c->section]);
    return LEAT_OK;
}

/* How ByteLevel cuts before it maps bytes. */
#define BYTE_LEVEL_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static leat_status add_pre_tokenizer(loader *l, const component *c)
{
    tokenizer *t = l->t;
    if (t->pretokenize_count == TEXT_STEPS_MAX)
        return FAIL_COMPONENT(l, c, "pre_tokenizer: more than %d steps are not supported", TEXT_STEPS_MAX);
    pretokenize_step *step = &t->pretokenize[t->pretokenize_count];
    *step = (pretokenize_step){.kind = PRETOKENIZE_SPLIT_CLASS};
    TRY(read_behaviour(l, c, &step->behaviour));
    switch (c->type) {
    case TYPE_SPLIT:
        step->kind = PRETOKENIZE_SPLIT;
        step->pattern = c->texts[FIELD_PATTERN];
        step->invert = c->flags[FIELD_INVERT];
        if (c->pattern_is_expression) TRY(open_expression(l, step->pattern, &step->expression));
        break;
    case TYPE_BYTE_LEVEL:
        step->kind = PRETOKENIZE_BYTE_LEVEL;
        step->prefix_space = flag_or(c, FIELD_ADD_PREFIX_SPACE, true);
        if (flag_or(c, FIELD_USE_REGEX, true))
            TRY(open_expression(l, (text_slice){BYTE_LEVEL_PATTERN, strlen(BYTE_LEVEL_PATTERN)}, &step->expression));
        break;
    case TYPE_METASPACE:
        TRY(check_metaspace(l, c));
        TRY(read_prepend_scheme(l, c, &step->prepend));
        step->kind = PRETOKENIZE_METASPACE;
        step->pattern = c->texts[FIELD_REPLACEMENT];
        step->split = flag_or(c, FIELD_SPLIT, true);
        break;
    case TYPE_DIGITS:
        step->is_cut = unicode_is_number;
        step->behaviour = c->flags[FIELD_INDIVIDUAL_DIGITS] ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
        break;
    case TYPE_PUNCTUATION: step->is_cut = unicode_is_punctuation; break;
    default:
        step->is_cut = unicode_is_space;
        step->behaviour = SPLIT_REMOVED;
        break;
    }
    t->pretokenize_count++;
    return LEAT_OK;
}

/* The decoders of a sequence come in this order; what comes in another one is not known to mean the same. */
enum decode_phases { PHASE_START, PHASE_REPLACED, PHASE_BYTES, PHASE_FUSED, PHASE_STRIPPED, PHASE_DONE };

static leat_status advance_decode(loader *l, const component *c, uint32_t latest, uint32_t phase)
{
    if (l->decode_phase > latest)
        return FAIL_COMPONENT(l, c,
                              "decoder: this order of decoders is not supported; supported: "
                              "Replace, ByteFallback, Fuse, Strip, or ByteLevel or Metaspace alone");
    l->decode_phase = phase;
    return LEAT_OK;
}

static leat_status add_decoder(loader *l, const component *c)
{
    decode_plan *plan = &l->t->decode;
    prepend_scheme scheme;
    switch (c->type) {
    case TYPE_REPLACE:
        TRY(advance_decode(l, c, PHASE_REPLACED, PHASE_REPLACED));
        if (c->pattern_is_expression) return FAIL_COMPONENT(l, c, "decoder: Replace with a Regex is not supported");
        if (plan->replacement_count == TEXT_STEPS_MAX)
            return FAIL_COMPONENT(l, c, "decoder: more than %d replacements are not supported", TEXT_STEPS_MAX);
        plan->replacements[plan->replacement_count].pattern = c->texts[FIELD_PATTERN];
        plan->replacements[plan->replacement_count++].content = c->texts[FIELD_CONTENT];
        plan->kind = DECODE_CHAIN;
        return LEAT_OK;
    case TYPE_BYTE_FALLBACK:
        TRY(advance_decode(l, c, PHASE_REPLACED, PHASE_BYTES));
        plan->kind = DECODE_CHAIN;
        plan->byte_fallback = true;
        return LEAT_OK;
    case TYPE_FUSE:
        TRY(advance_decode(l, c, PHASE_BYTES, PHASE_FUSED));
        plan->kind = DECODE_CHAIN;
        plan->fuse = true;
        return LEAT_OK;
    case TYPE_STRIP_DECODER:
        if (!plan->fuse) return FAIL_COMPONENT(l, c, "decoder: Strip is supported only after Fuse");
        TRY(advance_decode(l, c, PHASE_FUSED, PHASE_STRIPPED));
        if (!is_one_character(c->texts[FIELD_CONTENT]))
            return FAIL_COMPONENT(l, c, "decoder: the content of Strip is not one character");
        plan->strip_content = c->texts[FIELD_CONTENT];
        plan->strip_start = c->counts[FIELD_START];
        plan->strip_stop = c->counts[FIELD_STOP];
        return LEAT_OK;
    case TYPE_BYTE_LEVEL:
        TRY(advance_decode(l, c, PHASE_START, PHASE_DONE));
        plan->kind = DECODE_BYTE_LEVEL;
        return LEAT_OK;
    default:
        TRY(advance_decode(l, c, PHASE_START, PHASE_DONE));
        TRY(check_metaspace(l, c));
        TRY(read_prepend_scheme(l, c, &scheme));
        plan->kind = DECODE_METASPACE;
        plan->mark = c->texts[FIELD_REPLACEMENT];
        plan->drops_first_mark = scheme != PREPEND_NEVER;
        return LEAT_OK;
    }
}

static leat_status find_rule(loader *l, section where, const json_token *type, size_t *out_rule)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++)
        if (rules[i].section == where && json_text_is(type, rules[i].name)) {
            *out_rule = i;
            return LEAT_OK;
        }
    return FAIL_AT(l, type, "%s \"%s\" is not supported", section_names[where], quote(type).text);
}

/* A component whose first token has been read. */
static leat_status read_component(loader *l, section where, const json_token *first, uint32_t depth)
{
    const char *name = section_names[where];
    enum { DEPTH_MAX = 4 };
    TRY(expect(l, first, JSON_OBJECT_BEGIN, name, "an object"));
    if (depth > DEPTH_MAX) return FAIL_AT(l, first, "%s: sequences deeper than %d are not supported", name, DEPTH_MAX);
    component c = {.section = where, .offset = first->offset};
    size_t rule = ARRAY_COUNT(rules);
    for (;;) {
        json_token token;
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "type")) {
            TRY(next(l, &token));
            TRY(expect(l, &token, JSON_STRING, name, "a type"));
            TRY(find_rule(l, where, &token, &rule));
            continue;
        }
        size_t idx = 0;
        while (idx < ARRAY_COUNT(fields) && !json_text_is(&token, fields[idx].name)) idx++;
        if (idx == ARRAY_COUNT(fields))
            return FAIL_AT(l, &token, "%s: the field \"%s\" is not supported", name, quote(&token).text);
        TRY(read_field(l, &c, idx, depth));
    }
    if (rule == ARRAY_COUNT(rules)) return FAIL_COMPONENT(l, &c, "%s: a component without a type", name);
    c.type = rules[rule].type;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        uint32_t bit = BIT(fields[i].field);
        if ((c.seen & bit) != 0 && ((rules[rule].allowed | rules[rule].needed) & bit) == 0)
            return FAIL_COMPONENT(l, &c, "%s: %s has no field \"%s\"", name, rules[rule].name, fields[i].name);
        if ((c.seen & bit) == 0 && (rules[rule].needed & bit) != 0)
            return FAIL_COMPONENT(l, &c, "%s: %s needs the field \"%s\"", name, rules[rule].name, fields[i].name);
    }
    if (c.type == TYPE_SEQUENCE) return LEAT_OK; /* its children have been added */
    switch (where) {
    case SECTION_NORMALIZER: return add_normalizer(l, &c);
    case SECTION_PRE_TOKENIZER: return add_pre_tokenizer(l, &c);
    default: return add_decoder(l, &c);
    }
}

static leat_status read_section(loader *l, section where)
{
    json_token token;
    TRY(next(l, &token));
    return token.kind == JSON_NULL ? LEAT_OK : read_component(l, where, &token, 0);
}

/* ---- added tokens ---- */

static leat_status read_added_field(loader *l, const json_token *key, added_token *token, bool *has_id)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } flags[] = {{"special", ADDED_TOKEN_SPECIAL},
                 {"lstrip", ADDED_TOKEN_LSTRIP},
                 {"rstrip", ADDED_TOKEN_RSTRIP},
                 {"single_word", ADDED_TOKEN_SINGLE_WORD},
                 {"normalized", ADDED_TOKEN_NORMALIZED}};
    json_token value;
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
        if (json_text_is(key, flags[i].name)) {
            bool is_set;
            TRY(read_bool(l, flags[i].name, &is_set));
            token->flags = is_set ? token->flags | flags[i].flag : token->flags & ~flags[i].flag;
            return LEAT_OK;
        }
    if (json_text_is(key, "id")) {
        TRY(next(l, &value));
        *has_id = true;
        const char *text = token->content == NULL ? "" : token->content;
        return read_id(l, &value, vocabulary_cut(text, strlen(text)), &token->id);
    }
    if (json_text_is(key, "content")) {
        TRY(next(l, &value));
        TRY(expect(l, &value, JSON_STRING, "added_tokens", "a token's content"));
        if (value.text_bytes > ADDED_TOKEN_BYTES_MAX)
            return FAIL_AT(l, &value, "an added token is %zu bytes long, at most %d are supported", value.text_bytes,
                           ADDED_TOKEN_BYTES_MAX);
        if (memchr(value.text, 0, value.text_bytes) != NULL) return FAIL_AT(l, &value, "an added token holds U+0000");
        token->content_bytes = (uint32_t)value.text_bytes;
        return arena_copy_text(&l->t->storage, value.text, value.text_bytes, &token->content, l->error);
    }
    return FAIL_AT(l, key, "added_tokens: the field \"%s\" is not supported", quote(key).text);
}

static leat_status push_added(loader *l, const added_token *token)
{
    tokenizer *t = l->t;
    if (t->added_count == l->added_capacity) {
        uint64_t capacity = max_u64(64, l->added_capacity + l->added_capacity / 2);
        void *block = t->added;
        TRY(mem_resize(t->ledger, MEM_TOKENIZER, &block, capacity, sizeof *t->added, "added tokens", l->error));
        t->added = block;
        l->added_capacity = capacity;
    }
    t->added[t->added_count++] = *token;
    return LEAT_OK;
}

static leat_status read_added_tokens(loader *l)
{
    json_token token;
    TRY(next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    TRY(expect(l, &token, JSON_ARRAY_BEGIN, "added_tokens", "a list"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(expect(l, &token, JSON_OBJECT_BEGIN, "added_tokens", "an object"));
        if (l->t->added_count == ADDED_TOKEN_LIMIT)
            return FAIL_AT(l, &token, "there are more than %d added tokens", ADDED_TOKEN_LIMIT);
        json_token first = token;
        bool has_id = false;
        added_token added = {0};
        for (;;) {
            TRY(next(l, &token));
            if (token.kind == JSON_OBJECT_END) break;
            TRY(read_added_field(l, &token, &added, &has_id));
        }
        if (!has_id) return FAIL_AT(l, &first, "an added token has no id");
        if (added.content_bytes == 0)
            return FAIL_AT(l, &first, "the added token with id %" PRIu32 " is empty", added.id);
        TRY(push_added(l, &added));
    }
}

/* ---- model ---- */

static leat_status read_vocab(loader *l)
{
    vocabulary *vocab = &l->t->vocab;
    json_token token;
    TRY(next(l, &token));
    if (token.kind == JSON_ARRAY_BEGIN) { /* of another type of model; the type is named at the end */
        l->vocab_is_list = true;
        return json_skip_rest(l->parser, &token, l->error);
    }
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, "vocab", "an object"));
    for (;;) {
        uint32_t offset, id;
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (token.text_bytes == 0) return FAIL_AT(l, &token, "vocab: a token with an empty text");
        size_t bytes = token.text_bytes;
        TRY(named(l, vocabulary_store(vocab, token.text, bytes, &offset, l->error)));
        TRY(next(l, &token));
        const char *text = vocab->texts + offset;
        TRY(read_id(l, &token, vocabulary_cut(text, bytes), &id));
        if (vocabulary_has(vocab, id)) {
            const char *other = vocabulary_text(vocab, id);
            return FAIL_AT(l, &token, "id %" PRIu32 " is given to both \"%s\" and \"%s\"", id,
                           vocabulary_cut(other, strlen(other)).text, vocabulary_cut(text, bytes).text);
        }
        TRY(vocabulary_add(vocab, offset, id, VOCABULARY_MODEL, l->error));
    }
    l->has_vocab = true;
    return LEAT_OK;
}

static leat_status find_piece(loader *l, const json_token *token, text_slice piece, uint32_t *out_id)
{
    uint64_t idx = l->t->bpe.merge_count;
    if (piece.count == 0) return FAIL_AT(l, token, "merge %" PRIu64 " has an empty half", idx);
    *out_id = vocabulary_find(&l->t->vocab, piece.bytes, piece.count, VOCABULARY_MODEL);
    if (*out_id == VOCABULARY_NO_ID)
        return FAIL_AT(l, token, "merge %" PRIu64 " names \"%s\", which is not in the vocabulary", idx,
                       vocabulary_cut(piece.bytes, piece.count).text);
    return LEAT_OK;
}

static leat_status add_merge(loader *l, const json_token *token, uint32_t left, uint32_t right, text_buffer *joined)
{
    const vocabulary *vocab = &l->t->vocab;
    const char *texts[2] = {vocabulary_text(vocab, left), vocabulary_text(vocab, right)};
    uint32_t merged;
    joined->count = 0;
    for (int i = 0; i < 2; i++) TRY(text_buffer_append(joined, texts[i], strlen(texts[i]), l->error));
    TRY(find_piece(l, token, (text_slice){joined->bytes, joined->count}, &merged));
    return bpe_add_merge(&l->t->bpe, left, right, merged, l->error);
}

/* "left right", one space */
static leat_status read_spaced_merge(loader *l, const json_token *token, uint32_t *out_left, uint32_t *out_right)
{
    const char *space = memchr(token->text, ' ', token->text_bytes);
    size_t left_bytes = space == NULL ? 0 : (size_t)(space - token->text);
    size_t right_bytes = space == NULL ? 0 : token->text_bytes - left_bytes - 1;
    if (space == NULL || memchr(space + 1, ' ', right_bytes) != NULL)
        return FAIL_AT(l, token, "merge %" PRIu64 " is not two pieces with a space between them: \"%s\"",
                       l->t->bpe.merge_count, quote(token).text);
    TRY(find_piece(l, token, (text_slice){token->text, left_bytes}, out_left));
    return find_piece(l, token, (text_slice){space + 1, right_bytes}, out_right);
}

/* ["left", "right"], of which the bracket has been read */
static leat_status read_merge_pair(loader *l, uint32_t *out_left, uint32_t *out_right)
{
    json_token token;
    uint32_t *halves[2] = {out_left, out_right};
    for (int i = 0; i < 2; i++) {
        TRY(next(l, &token));
        TRY(expect(l, &token, JSON_STRING, "merges", "a pair of strings"));
        TRY(find_piece(l, &token, (text_slice){token.text, token.text_bytes}, halves[i]));
    }
    TRY(next(l, &token));
    return expect(l, &token, JSON_ARRAY_END, "merges", "a pair of strings");
}

static leat_status read_merge_list(loader *l, text_buffer *joined)
{
    json_token token;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_ARRAY_BEGIN, "merges", "a list"));
    for (;;) {
        uint32_t left, right;
        TRY(next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        if (l->t->bpe.merge_count == BPE_MERGE_LIMIT)
            return FAIL_AT(l, &token, "there are more than %d merges", BPE_MERGE_LIMIT);
        if (token.kind == JSON_STRING) {
            TRY(read_spaced_merge(l, &token, &left, &right));
        } else {
            TRY(expect(l, &token, JSON_ARRAY_BEGIN, "merges", "a string or a pair of strings"));
            TRY(read_merge_pair(l, &left, &right));
        }
        TRY(add_merge(l, &token, left, right, joined));
    }
}

static leat_status read_merges(loader *l)
{
    l->has_merges = true;
    if (!l->has_vocab) {
        l->merges_are_pending = true;
        return json_skip(l->parser, l->error);
    }
    l->merges_are_pending = false;
    text_buffer joined;
    text_buffer_init(&joined, l->t->ledger);
    leat_status status = read_merge_list(l, &joined);
    text_buffer_reset(&joined);
    return status;
}

/* A field that must be absent, null, or say nothing ("" or 0). */
static leat_status read_unused(loader *l, const json_token *key)
{
    json_token value;
    vocabulary_quote name = quote(key);
    double number;
    TRY(next(l, &value));
    if (value.kind == JSON_NULL || (value.kind == JSON_STRING && value.text_bytes == 0)) return LEAT_OK;
    if (value.kind == JSON_NUMBER && json_to_f64(&value, &number) && number == 0) return LEAT_OK;
    return FAIL_AT(l, &value, "model: %s is not supported", name.text);
}

static leat_status read_model_type(loader *l)
{
    json_token value;
    TRY(next(l, &value));
    TRY(expect(l, &value, JSON_STRING, "model", "a type"));
    vocabulary_quote type = quote(&value);
    if (!json_text_is(&value, "BPE"))
        return FAIL_AT(l, &value, "model type %s is not supported; supported: BPE", type.text);
    return LEAT_OK;
}

static leat_status read_model_field(loader *l, const json_token *key)
{
    bpe_model *bpe = &l->t->bpe;
    json_token value;
    if (json_text_is(key, "type")) return read_model_type(l);
    if (json_text_is(key, "vocab")) return read_vocab(l);
    if (json_text_is(key, "merges")) return read_merges(l);
    if (json_text_is(key, "byte_fallback")) return read_bool(l, "byte_fallback", &bpe->byte_fallback);
    if (json_text_is(key, "fuse_unk")) return read_bool(l, "fuse_unk", &bpe->fuse_unk);
    if (json_text_is(key, "ignore_merges")) return read_bool(l, "ignore_merges", &bpe->ignore_merges);
    if (json_text_is(key, "dropout") || json_text_is(key, "continuing_subword_prefix") ||
        json_text_is(key, "end_of_word_suffix"))
        return read_unused(l, key);
    if (json_text_is(key, "unk_token")) {
        TRY(next(l, &value));
        if (value.kind == JSON_NULL) return LEAT_OK;
        TRY(expect(l, &value, JSON_STRING, "unk_token", "a string or null"));
        return copy_text(l, &value, &l->unk_token);
    }
    return FAIL_AT(l, key, "model: the field \"%s\" is not supported", quote(key).text);
}

static leat_status read_model(loader *l)
{
    json_token token;
    l->has_model = true;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, "model", "an object"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        TRY(read_model_field(l, &token));
    }
}

/* ---- post-processor ---- */

/* {"SpecialToken": {"id": NAME, "type_id": N}} or {"Sequence": {"id": "A", "type_id": N}}, of which the brace has been
 * read */
static leat_status read_template_piece(loader *l, template_piece *out_piece)
{
    json_token token;
    TRY(next(l, &token));
    if (token.kind != JSON_KEY || (!json_text_is(&token, "SpecialToken") && !json_text_is(&token, "Sequence")))
        return FAIL_AT(l, &token, "post_processor: a piece is a SpecialToken or a Sequence");
    out_piece->is_text = json_text_is(&token, "Sequence");
    out_piece->name = NULL;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, "post_processor", "an object"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (!json_text_is(&token, "id")) {
            TRY(json_skip(l->parser, l->error));
            continue;
        }
        TRY(next(l, &token));
        TRY(expect(l, &token, JSON_STRING, "post_processor", "an id"));
        if (out_piece->is_text && !json_text_is(&token, "A"))
            return FAIL_AT(l, &token, "post_processor: the template of one text names another sequence than A");
        TRY(arena_copy_text(&l->t->storage, token.text, token.text_bytes, &out_piece->name, l->error));
    }
    if (out_piece->name == NULL) return FAIL_AT(l, &token, "post_processor: a piece without an id");
    TRY(next(l, &token));
    return expect(l, &token, JSON_OBJECT_END, "post_processor", "the end of a piece");
}

static leat_status read_template_pieces(loader *l, post_template *p)
{
    json_token token;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of pieces"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(expect(l, &token, JSON_OBJECT_BEGIN, "post_processor", "a piece"));
        if (p->piece_count == TEMPLATE_NAMES_MAX)
            return FAIL_AT(l, &token, "post_processor: more than %d pieces are not supported", TEMPLATE_NAMES_MAX);
        TRY(read_template_piece(l, &p->pieces[p->piece_count]));
        p->piece_count++;
    }
}

/* {NAME: {"id": NAME, "ids": [...], "tokens": [...]}, ...} */
static leat_status read_template_tokens(loader *l, post_template *p)
{
    json_token token;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, "special_tokens", "an object"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (p->token_count == TEMPLATE_NAMES_MAX)
            return FAIL_AT(l, &token, "post_processor: more than %d special tokens are not supported",
                           TEMPLATE_NAMES_MAX);
        vocabulary_quote name = quote(&token);
        TRY(arena_copy_text(&l->t->storage, token.text, token.text_bytes, &p->tokens[p->token_count].name, l->error));
        TRY(next(l, &token));
        TRY(expect(l, &token, JSON_OBJECT_BEGIN, "special_tokens", "an object"));
        for (;;) {
            TRY(next(l, &token));
            if (token.kind == JSON_OBJECT_END) break;
            if (!json_text_is(&token, "ids")) {
                TRY(json_skip(l->parser, l->error));
                continue;
            }
            TRY(next(l, &token));
            TRY(expect(l, &token, JSON_ARRAY_BEGIN, "special_tokens", "a list of ids"));
            for (;;) {
                TRY(next(l, &token));
                if (token.kind == JSON_ARRAY_END) break;
                uint32_t *count = &p->tokens[p->token_count].id_count;
                if (*count == TEMPLATE_NAMES_MAX)
                    return FAIL_AT(l, &token, "post_processor: more than %d ids are not supported", TEMPLATE_NAMES_MAX);
                TRY(read_id(l, &token, name, &p->tokens[p->token_count].ids[*count]));
                ++*count;
            }
        }
        p->token_count++;
    }
}

/* Puts the template around what earlier processors have put there. */
static leat_status apply_template(loader *l, const json_token *at, const post_template *p)
{
    tokenizer *t = l->t;
    uint32_t prefix[TEMPLATE_IDS_MAX], suffix[TEMPLATE_IDS_MAX], prefix_count = 0, suffix_count = 0;
    bool seen_text = false;
    memcpy(suffix, t->suffix_ids, sizeof suffix);
    suffix_count = t->suffix_count;
    for (uint32_t i = 0; i < p->piece_count; i++) {
        if (p->pieces[i].is_text) {
            if (seen_text) return FAIL_AT(l, at, "post_processor: a template that repeats the text is not supported");
            seen_text = true;
            continue;
        }
        uint32_t idx = 0;
        while (idx < p->token_count && strcmp(p->tokens[idx].name, p->pieces[i].name) != 0) idx++;
        if (idx == p->token_count)
            return FAIL_AT(l, at, "post_processor: \"%s\" is not among its special_tokens",
                           vocabulary_cut(p->pieces[i].name, strlen(p->pieces[i].name)).text);
        for (uint32_t k = 0; k < p->tokens[idx].id_count; k++) {
            if ((seen_text ? suffix_count : prefix_count) == TEMPLATE_IDS_MAX)
                return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
            if (seen_text)
                suffix[suffix_count++] = p->tokens[idx].ids[k];
            else
                prefix[prefix_count++] = p->tokens[idx].ids[k];
        }
    }
    if (!seen_text) return FAIL_AT(l, at, "post_processor: the template has no place for the text");
    if (prefix_count + t->prefix_count > TEMPLATE_IDS_MAX)
        return FAIL_AT(l, at, "post_processor: more than %d ids are not supported", TEMPLATE_IDS_MAX);
    memmove(t->prefix_ids + prefix_count, t->prefix_ids, t->prefix_count * sizeof *prefix);
    memcpy(t->prefix_ids, prefix, prefix_count * sizeof *prefix);
    memcpy(t->suffix_ids, suffix, suffix_count * sizeof *suffix);
    t->prefix_count += prefix_count;
    t->suffix_count = suffix_count;
    return LEAT_OK;
}

typedef enum post_type { POST_UNKNOWN, POST_TEMPLATE, POST_BYTE_LEVEL, POST_SEQUENCE } post_type;

static leat_status read_post_type(loader *l, post_type *out_type)
{
    json_token value;
    TRY(next(l, &value));
    TRY(expect(l, &value, JSON_STRING, "post_processor", "a type"));
    if (json_text_is(&value, "TemplateProcessing"))
        *out_type = POST_TEMPLATE;
    else if (json_text_is(&value, "ByteLevel"))
        *out_type = POST_BYTE_LEVEL;
    else if (json_text_is(&value, "Sequence"))
        *out_type = POST_SEQUENCE;
    else
        return FAIL_AT(l, &value, "post_processor \"%s\" is not supported", quote(&value).text);
    return LEAT_OK;
}

static leat_status read_post_processor(loader *l, const json_token *first, uint32_t depth);

static leat_status read_post_field(loader *l, const json_token *key, post_template *p, uint32_t depth)
{
    bool ignored;
    json_token token;
    if (json_text_is(key, "single")) return read_template_pieces(l, p);
    if (json_text_is(key, "special_tokens")) return read_template_tokens(l, p);
    if (json_text_is(key, "pair")) return json_skip(l->parser, l->error); /* two texts are never encoded together */
    if (json_text_is(key, "add_prefix_space") || json_text_is(key, "trim_offsets") || json_text_is(key, "use_regex"))
        return read_bool(l, "post_processor", &ignored); /* these change offsets, which we do not give */
    if (!json_text_is(key, "processors"))
        return FAIL_AT(l, key, "post_processor: the field \"%s\" is not supported", quote(key).text);
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_ARRAY_BEGIN, "post_processor", "a list of processors"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_post_processor(l, &token, depth + 1));
    }
}

static leat_status read_post_fields(loader *l, const json_token *first, post_template *p, uint32_t depth)
{
    post_type type = POST_UNKNOWN;
    for (;;) {
        json_token token;
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "type"))
            TRY(read_post_type(l, &type));
        else
            TRY(read_post_field(l, &token, p, depth));
    }
    if (type == POST_UNKNOWN) return FAIL_AT(l, first, "post_processor: no type");
    return type == POST_TEMPLATE ? apply_template(l, first, p) : LEAT_OK;
}

static leat_status read_post_processor(loader *l, const json_token *first, uint32_t depth)
{
    enum { DEPTH_MAX = 4 };
    TRY(expect(l, first, JSON_OBJECT_BEGIN, "post_processor", "an object"));
    if (depth > DEPTH_MAX)
        return FAIL_AT(l, first, "post_processor: sequences deeper than %d are not supported", DEPTH_MAX);
    post_template *p;
    json_token at = *first;
    TRY(MEM_NEW(l->t->ledger, TOKENIZER, 1, &p, l->error));
    leat_status status = read_post_fields(l, &at, p, depth);
    mem_free(l->t->ledger, p);
    return status;
}

/* ---- the whole ---- */

static leat_status read_top_field(loader *l, const json_token *key)
{
    json_token token;
    if (json_text_is(key, "model")) return read_model(l);
    if (json_text_is(key, "added_tokens")) return read_added_tokens(l);
    if (json_text_is(key, "normalizer")) return read_section(l, SECTION_NORMALIZER);
    if (json_text_is(key, "pre_tokenizer")) return read_section(l, SECTION_PRE_TOKENIZER);
    if (json_text_is(key, "decoder")) return read_section(l, SECTION_DECODER);
    if (json_text_is(key, "post_processor")) {
        TRY(next(l, &token));
        return token.kind == JSON_NULL ? LEAT_OK : read_post_processor(l, &token, 0);
    }
    /* how batches are cut and filled up; a text alone is neither */
    if (json_text_is(key, "version") || json_text_is(key, "truncation") || json_text_is(key, "padding"))
        return json_skip(l->parser, l->error);
    return FAIL_AT(l, key, "the field \"%s\" is not supported", quote(key).text);
}

static leat_status read_first_pass(loader *l)
{
    json_token token;
    TRY(next(l, &token));
    TRY(expect(l, &token, JSON_OBJECT_BEGIN, "tokenizer", "an object"));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_top_field(l, &token));
    }
    return next(l, &token);
}

/* Only the merges; the document is known to be well-formed. */
static leat_status read_second_pass(loader *l)
{
    json_token token;
    TRY(next(l, &token));
    for (;;) {
        TRY(next(l, &token));
        if (token.kind == JSON_OBJECT_END) return LEAT_OK;
        if (!json_text_is(&token, "model")) {
            TRY(json_skip(l->parser, l->error));
            continue;
        }
        TRY(next(l, &token));
        for (;;) {
            TRY(next(l, &token));
            if (token.kind == JSON_OBJECT_END) break;
            if (json_text_is(&token, "merges"))
                TRY(read_merges(l));
            else
                TRY(json_skip(l->parser, l->error));
        }
    }
}

static leat_status run_pass(loader *l, const char *text, uint64_t bytes, const json_limits *limits,
                            leat_status (*pass)(loader *l))
{
    TRY(json_open(l->t->ledger, MEM_TOKENIZER, l->t->name, text, bytes, limits, &l->parser, l->error));
    leat_status status = pass(l);
    json_close(&l->parser);
    return status;
}

/* Gives the added tokens to the vocabulary, or finds them there. */
static leat_status join_added_tokens(loader *l)
{
    tokenizer *t = l->t;
    vocabulary *vocab = &t->vocab;
    for (uint32_t i = 0; i < t->added_count; i++) {
        const added_token *added = &t->added[i];
        vocabulary_quote shown = vocabulary_cut(added->content, added->content_bytes);
        uint32_t known = vocabulary_find(vocab, added->content, added->content_bytes, 0);
        if (known != VOCABULARY_NO_ID && known != added->id)
            return FAIL(l->error, MODEL, "%s: the added token \"%s\" has id %" PRIu32 ", but also id %" PRIu32, t->name,
                        shown.text, added->id, known);
        if (known == VOCABULARY_NO_ID) {
            uint32_t offset;
            if (vocabulary_has(vocab, added->id)) {
                const char *other = vocabulary_text(vocab, added->id);
                return FAIL(l->error, MODEL, "%s: id %" PRIu32 " is given to both \"%s\" and the added token \"%s\"",
                            t->name, added->id, vocabulary_cut(other, strlen(other)).text, shown.text);
            }
            TRY(named(l, vocabulary_store(vocab, added->content, added->content_bytes, &offset, l->error)));
            TRY(vocabulary_add(vocab, offset, added->id, 0, l->error));
        } else if ((vocab->flags[known] & VOCABULARY_ADDED) != 0) {
            return FAIL(l->error, MODEL, "%s: the added token \"%s\" with id %" PRIu32 " is listed twice", t->name,
                        shown.text, known);
        }
        vocab->flags[added->id] |= VOCABULARY_ADDED;
        if ((added->flags & ADDED_TOKEN_SPECIAL) != 0) vocab->flags[added->id] |= VOCABULARY_SPECIAL;
    }
    return LEAT_OK;
}

/* Special tokens are searched before the others: of two patterns that are equal once normalised theirs counts. */
static leat_status put_special_first(loader *l)
{
    tokenizer *t = l->t;
    added_token *sorted;
    uint32_t count = 0;
    if (t->added_count == 0) return LEAT_OK;
    TRY(MEM_NEW(t->ledger, TOKENIZER, t->added_count, &sorted, l->error));
    for (int special = 1; special >= 0; special--)
        for (uint32_t i = 0; i < t->added_count; i++)
            if (((t->added[i].flags & ADDED_TOKEN_SPECIAL) != 0) == (special == 1)) sorted[count++] = t->added[i];
    mem_free(t->ledger, t->added);
    t->added = sorted;
    return LEAT_OK;
}

/* The pattern of a token that is searched in normalised text is its content after the normalizer. */
static leat_status normalize_pattern(loader *l, normalize_scratch *scratch, added_token *added,
                                     token_pattern *out_pattern)
{
    tokenizer *t = l->t;
    text_slice text = {added->content, added->content_bytes};
    TRY(normalize_run(t->normalize, t->normalize_count, scratch, text, &text, l->error));
    if (text.count > ADDED_TOKEN_TOTAL_BYTES)
        return FAIL(l->error, MODEL,
                    "%s: the added token with id %" PRIu32 " grows to %" PRIu64 " bytes when normalised", t->name,
                    added->id, text.count);
    const char *copy;
    TRY(arena_copy_text(&t->storage, text.bytes, text.count, &copy, l->error));
    *out_pattern = (token_pattern){copy, (uint32_t)text.count};
    if (strcmp(copy, added->content) != 0) t->vocab.flags[added->id] |= VOCABULARY_SHOWN_OTHERWISE;
    added->shown = copy;
    return LEAT_OK;
}

static leat_status open_matcher(loader *l, bool normalized, normalize_scratch *scratch, token_pattern *patterns,
                                token_matcher **out_matcher)
{
    tokenizer *t = l->t;
    bool is_empty = true;
    for (uint32_t i = 0; i < t->added_count; i++) {
        patterns[i] = (token_pattern){"", 0};
        if (((t->added[i].flags & ADDED_TOKEN_NORMALIZED) != 0) != normalized) continue;
        is_empty = false;
        if (normalized)
            TRY(normalize_pattern(l, scratch, &t->added[i], &patterns[i]));
        else
            patterns[i] = (token_pattern){t->added[i].content, t->added[i].content_bytes};
    }
    if (is_empty) return LEAT_OK;
    return named(l, token_matcher_open(t->ledger, t->vocab.seed, patterns, t->added_count, out_matcher, l->error));
}

static leat_status open_matchers(loader *l)
{
    tokenizer *t = l->t;
    leat_status status;
    token_pattern *patterns;
    regex_scratch matches = {0};
    normalize_scratch scratch;
    TRY(MEM_NEW(t->ledger, TOKENIZER, t->added_count, &patterns, l->error));
    normalize_scratch_init(&scratch, t->ledger, &matches);
    TRY_OR(out, open_matcher(l, false, &scratch, patterns, &t->raw_matcher));
    TRY_OR(out, open_matcher(l, true, &scratch, patterns, &t->normalized_matcher));
out:
    normalize_scratch_reset(&scratch);
    regex_scratch_reset(&matches);
    mem_free(t->ledger, patterns);
    return status;
}

static leat_status check_template_ids(loader *l)
{
    const tokenizer *t = l->t;
    for (uint32_t i = 0; i < t->prefix_count + t->suffix_count; i++) {
        uint32_t id = i < t->prefix_count ? t->prefix_ids[i] : t->suffix_ids[i - t->prefix_count];
        if (!vocabulary_has(&t->vocab, id))
            return FAIL(l->error, MODEL, "%s: the post_processor adds id %" PRIu32 ", which no token has", t->name, id);
    }
    return LEAT_OK;
}

static leat_status join_all(loader *l)
{
    tokenizer *t = l->t;
    if (!l->has_model) return FAIL(l->error, MODEL, "%s: no model", t->name);
    if (l->vocab_is_list)
        return FAIL(l->error, MODEL, "%s: the vocabulary is a list, as for model type Unigram; supported: BPE",
                    t->name);
    if (!l->has_vocab) return FAIL(l->error, MODEL, "%s: the model has no vocab", t->name);
    if (!l->has_merges) return FAIL(l->error, MODEL, "%s: the model has no merges", t->name);
    if (l->unk_token.bytes != NULL) {
        t->bpe.unk_id = vocabulary_find(&t->vocab, l->unk_token.bytes, l->unk_token.count, VOCABULARY_MODEL);
        if (t->bpe.unk_id == VOCABULARY_NO_ID)
            return FAIL(l->error, MODEL, "%s: unk_token \"%s\" is not in the vocabulary", t->name,
                        vocabulary_cut(l->unk_token.bytes, l->unk_token.count).text);
    }
    TRY(bpe_finish(&t->bpe, l->error));
    TRY(join_added_tokens(l));
    TRY(put_special_first(l));
    TRY(open_matchers(l));
    return check_template_ids(l);
}

leat_status tokenizer_load(tokenizer *t, const char *json_text, uint64_t json_bytes, uint32_t vocab_count,
                           leat_error *error)
{
    loader l = {.t = t, .error = error, .vocab_count = vocab_count};
    TRY(run_pass(&l, json_text, json_bytes, &json_limits_default, read_first_pass));
    if (l.merges_are_pending && l.has_vocab) {
        json_limits limits = json_limits_default; /* the keys have been found unique */
        limits.unique_keys = false;
        TRY(run_pass(&l, json_text, json_bytes, &limits, read_second_pass));
    }
    return join_all(&l);
}
