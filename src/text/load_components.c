/*
 * load_components.c - normalizers, pre-tokenizers and decoders, read by one table-driven reader: `fields` says which
 * values exist, `rules` which component may have which.
 */
#include "text/loader.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/base64.h"
#include "text/regex_known.h"
#include "text/unicode_class.h"

#include <assert.h>
#include <string.h>

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
    FIELD_CHARSMAP,
    FIELD_CLEAN_TEXT,
    FIELD_CHINESE,
    FIELD_STRIP_ACCENTS,
    FIELD_LOWERCASE,
    FIELD_PREFIX,
    FIELD_CLEANUP,
    FIELD_DELIMITER,
    FIELD_LENGTH,
    FIELD_SUFFIX,
    FIELD_PAD,
    FIELD_WORD_DELIMITER,
    FIELD_COUNT
} field;

typedef enum field_form {
    FORM_TEXT,
    FORM_BOOL,
    FORM_MAYBE_BOOL,
    FORM_COUNT,
    FORM_PATTERN,
    FORM_LIST,
    FORM_BASE64
} field_form;

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
    {"precompiled_charsmap", FIELD_CHARSMAP, FORM_BASE64},
    {"clean_text", FIELD_CLEAN_TEXT, FORM_BOOL},
    {"handle_chinese_chars", FIELD_CHINESE, FORM_BOOL},
    {"strip_accents", FIELD_STRIP_ACCENTS, FORM_MAYBE_BOOL},
    {"lowercase", FIELD_LOWERCASE, FORM_BOOL},
    {"prefix", FIELD_PREFIX, FORM_TEXT},
    {"cleanup", FIELD_CLEANUP, FORM_BOOL},
    {"delimiter", FIELD_DELIMITER, FORM_TEXT},
    {"length", FIELD_LENGTH, FORM_COUNT},
    {"suffix", FIELD_SUFFIX, FORM_TEXT},
    {"pad_token", FIELD_PAD, FORM_TEXT},
    {"word_delimiter_token", FIELD_WORD_DELIMITER, FORM_TEXT},
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
    TYPE_LOWERCASE,
    TYPE_STRIP_ACCENTS,
    TYPE_PRECOMPILED,
    TYPE_BERT_NORMALIZER,
    TYPE_NMT,
    TYPE_BERT_PRE_TOKENIZER,
    TYPE_WORDPIECE,
    TYPE_SPLIT,
    TYPE_BYTE_LEVEL,
    TYPE_METASPACE,
    TYPE_DIGITS,
    TYPE_PUNCTUATION,
    TYPE_WHITESPACE_SPLIT,
    TYPE_WHITESPACE,
    TYPE_DELIMITER_SPLIT,
    TYPE_FIXED_LENGTH,
    TYPE_UNICODE_SCRIPTS,
    TYPE_CTC,
    TYPE_BPE_DECODER,
    TYPE_BYTE_FALLBACK,
    TYPE_FUSE,
    TYPE_STRIP_DECODER,
} component_type;

static const char *const section_names[SECTION_COUNT] = {"normalizer", "pre_tokenizer", "decoder"};

#define BYTE_LEVEL_FIELDS (BIT(FIELD_ADD_PREFIX_SPACE) | BIT(FIELD_TRIM_OFFSETS) | BIT(FIELD_USE_REGEX))
#define METASPACE_FIELDS                                                                                               \
    (BIT(FIELD_REPLACEMENT) | BIT(FIELD_STR_REP) | BIT(FIELD_PREPEND_SCHEME) | BIT(FIELD_ADD_PREFIX_SPACE) |           \
     BIT(FIELD_SPLIT))

#define BERT_FIELDS (BIT(FIELD_CLEAN_TEXT) | BIT(FIELD_CHINESE) | BIT(FIELD_STRIP_ACCENTS) | BIT(FIELD_LOWERCASE))

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
    {SECTION_NORMALIZER, "Lowercase", TYPE_LOWERCASE, 0, 0},
    {SECTION_NORMALIZER, "StripAccents", TYPE_STRIP_ACCENTS, 0, 0},
    {SECTION_NORMALIZER, "Precompiled", TYPE_PRECOMPILED, 0, BIT(FIELD_CHARSMAP)},
    {SECTION_NORMALIZER, "Nmt", TYPE_NMT, 0, 0},
    {SECTION_NORMALIZER, "ByteLevel", TYPE_BYTE_LEVEL, 0, 0},
    {SECTION_NORMALIZER, "BertNormalizer", TYPE_BERT_NORMALIZER, BERT_FIELDS, 0},
    {SECTION_PRE_TOKENIZER, "BertPreTokenizer", TYPE_BERT_PRE_TOKENIZER, 0, 0},
    {SECTION_DECODER, "WordPiece", TYPE_WORDPIECE, BIT(FIELD_PREFIX) | BIT(FIELD_CLEANUP), 0},
    {SECTION_PRE_TOKENIZER, "Sequence", TYPE_SEQUENCE, 0, BIT(FIELD_CHILDREN)},
    {SECTION_PRE_TOKENIZER, "Split", TYPE_SPLIT, BIT(FIELD_INVERT), BIT(FIELD_PATTERN) | BIT(FIELD_BEHAVIOR)},
    {SECTION_PRE_TOKENIZER, "ByteLevel", TYPE_BYTE_LEVEL, BYTE_LEVEL_FIELDS, 0},
    {SECTION_PRE_TOKENIZER, "Metaspace", TYPE_METASPACE, METASPACE_FIELDS, BIT(FIELD_REPLACEMENT)},
    {SECTION_PRE_TOKENIZER, "Digits", TYPE_DIGITS, BIT(FIELD_INDIVIDUAL_DIGITS), 0},
    {SECTION_PRE_TOKENIZER, "Punctuation", TYPE_PUNCTUATION, BIT(FIELD_BEHAVIOR), 0},
    {SECTION_PRE_TOKENIZER, "WhitespaceSplit", TYPE_WHITESPACE_SPLIT, 0, 0},
    {SECTION_PRE_TOKENIZER, "Whitespace", TYPE_WHITESPACE, 0, 0},
    {SECTION_PRE_TOKENIZER, "CharDelimiterSplit", TYPE_DELIMITER_SPLIT, 0, BIT(FIELD_DELIMITER)},
    {SECTION_PRE_TOKENIZER, "FixedLength", TYPE_FIXED_LENGTH, 0, BIT(FIELD_LENGTH)},
    {SECTION_PRE_TOKENIZER, "UnicodeScripts", TYPE_UNICODE_SCRIPTS, 0, 0},
    {SECTION_DECODER, "Sequence", TYPE_SEQUENCE, 0, BIT(FIELD_CHILDREN)},
    {SECTION_DECODER, "Replace", TYPE_REPLACE, 0, BIT(FIELD_PATTERN) | BIT(FIELD_CONTENT)},
    {SECTION_DECODER, "ByteFallback", TYPE_BYTE_FALLBACK, 0, 0},
    {SECTION_DECODER, "Fuse", TYPE_FUSE, 0, 0},
    {SECTION_DECODER, "Strip", TYPE_STRIP_DECODER, BIT(FIELD_START) | BIT(FIELD_STOP), BIT(FIELD_CONTENT)},
    {SECTION_DECODER, "CTC", TYPE_CTC, BIT(FIELD_CLEANUP), BIT(FIELD_PAD) | BIT(FIELD_WORD_DELIMITER)},
    {SECTION_DECODER, "BPEDecoder", TYPE_BPE_DECODER, 0, BIT(FIELD_SUFFIX)},
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

/* {"String": "..."} or {"Regex": "..."} */
static leat_status read_pattern(loader *l, component *c)
{
    json_token token;
    const char *name = section_names[c->section];
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_OBJECT_BEGIN, name, "a pattern object"));
    TRY(loader_next(l, &token));
    if (token.kind != JSON_KEY || (!json_text_is(&token, "String") && !json_text_is(&token, "Regex")))
        return FAIL_AT(l, &token, "%s: a pattern is a String or a Regex", name);
    c->pattern_is_expression = json_text_is(&token, "Regex");
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_STRING, name, "the pattern's text"));
    if (token.text_bytes == 0) c->pattern_is_expression = true; /* it matches between all characters */
    TRY(loader_copy_text(l, &token, &c->texts[FIELD_PATTERN]));
    TRY(loader_next(l, &token));
    return loader_expect(l, &token, JSON_OBJECT_END, name, "the end of the pattern object");
}

static leat_status read_children(loader *l, section where, uint32_t depth)
{
    json_token token;
    TRY(loader_next(l, &token));
    TRY(loader_expect(l, &token, JSON_ARRAY_BEGIN, section_names[where], "a list of components"));
    for (;;) {
        TRY(loader_next(l, &token));
        if (token.kind == JSON_ARRAY_END) return LEAT_OK;
        TRY(read_component(l, where, &token, depth + 1));
    }
}

static leat_status read_base64(loader *l, const json_token *token, const char *name, text_slice *out_bytes)
{
    size_t count;
    void *block;
    TRY(arena_alloc(&l->t->storage, token->text_bytes / 4 * 3 + 1, 1, 1, &block, l->error));
    if (!base64_decode(token->text, token->text_bytes, block, &count)) return FAIL_AT(l, token, "%s: not base64", name);
    *out_bytes = (text_slice){block, count};
    return LEAT_OK;
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
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, fields[idx].name, "a string"));
        return loader_copy_text(l, &token, &c->texts[f]);
    case FORM_BOOL: return loader_read_bool(l, fields[idx].name, &c->flags[f]);
    case FORM_MAYBE_BOOL:
        TRY(loader_next(l, &token));
        if (token.kind == JSON_NULL) c->seen &= ~BIT(f);
        if (token.kind != JSON_NULL && token.kind != JSON_TRUE && token.kind != JSON_FALSE)
            return FAIL_AT(l, &token, "%s: expected true, false or null", fields[idx].name);
        c->flags[f] = token.kind == JSON_TRUE;
        return LEAT_OK;
    case FORM_COUNT:
        TRY(loader_next(l, &token));
        if (token.kind != JSON_NUMBER || !json_to_u64(&token, &count) || count > UINT16_MAX)
            return FAIL_AT(l, &token, "%s: %s is not a count up to %d", name, fields[idx].name, UINT16_MAX);
        c->counts[f] = (uint32_t)count;
        return LEAT_OK;
    case FORM_PATTERN: return read_pattern(l, c);
    case FORM_LIST: return read_children(l, c->section, depth);
    case FORM_BASE64:
        TRY(loader_next(l, &token));
        TRY(loader_expect(l, &token, JSON_STRING, fields[idx].name, "a string"));
        return read_base64(l, &token, fields[idx].name, &c->texts[f]);
    }
    return FAIL(l->error, INTERNAL, "a field of form %d", (int)fields[idx].form);
}

static leat_status add_step(loader *l, const component *c, normalize_step step)
{
    tokenizer *t = l->t;
    if (t->normalize_count == TEXT_STEPS_MAX)
        return FAIL_COMPONENT(l, c, "normalizer: more than %d steps are not supported", TEXT_STEPS_MAX);
    t->normalize[t->normalize_count++] = step;
    return LEAT_OK;
}

static leat_status add_map(loader *l, const component *c, character_map *map)
{
    return add_step(l, c, (normalize_step){.kind = NORMALIZE_MAP, .map = map});
}

static leat_status add_precompiled(loader *l, const component *c)
{
    tokenizer *t = l->t;
    text_slice bytes = c->texts[FIELD_CHARSMAP];
    if (t->character_map_count == ARRAY_COUNT(t->character_maps))
        return FAIL_COMPONENT(l, c, "normalizer: more than %d steps are not supported", TEXT_STEPS_MAX);
    charsmap *map = &t->character_maps[t->character_map_count];
    if (!charsmap_open(map, bytes.bytes, bytes.count))
        return FAIL_COMPONENT(l, c, "normalizer: the precompiled_charsmap is damaged, its sizes do not fit");
    t->character_map_count++;
    return add_step(l, c, (normalize_step){.kind = NORMALIZE_PRECOMPILED, .characters = map});
}

static leat_status add_bert_normalizer(loader *l, const component *c)
{
    bool lowers = flag_or(c, FIELD_LOWERCASE, true);
    if (flag_or(c, FIELD_CLEAN_TEXT, true)) TRY(add_map(l, c, character_clean));
    if (flag_or(c, FIELD_CHINESE, true)) TRY(add_map(l, c, character_set_apart));
    if (flag_or(c, FIELD_STRIP_ACCENTS, lowers)) {
        TRY(add_step(l, c, (normalize_step){.kind = NORMALIZE_UNICODE}));
        TRY(add_map(l, c, character_without_bert_marks));
    }
    return lowers ? add_map(l, c, character_to_lower) : LEAT_OK;
}

static leat_status add_normalizer(loader *l, const component *c)
{
    normalize_step step = {0};
    switch (c->type) {
    case TYPE_REPLACE:
        step.kind = NORMALIZE_REPLACE;
        step.pattern = c->texts[FIELD_PATTERN];
        step.content = c->texts[FIELD_CONTENT];
        if (l->t->normalize_count < TEXT_STEPS_MAX && c->pattern_is_expression)
            TRY(tokenizer_open_expression(l->t, step.pattern, &step.expression, l->error));
        break;
    case TYPE_PREPEND:
        step.kind = NORMALIZE_PREPEND;
        step.content = c->texts[FIELD_PREPEND];
        break;
    case TYPE_STRIP_NORMALIZER:
        step.kind = NORMALIZE_STRIP;
        step.strip_left = c->flags[FIELD_STRIP_LEFT];
        step.strip_right = c->flags[FIELD_STRIP_RIGHT];
        break;
    case TYPE_BYTE_LEVEL: step.kind = NORMALIZE_BYTE_LEVEL; break;
    case TYPE_NMT: return add_map(l, c, character_nmt);
    case TYPE_LOWERCASE: return add_map(l, c, character_to_lower);
    case TYPE_STRIP_ACCENTS: return add_map(l, c, character_without_marks);
    case TYPE_PRECOMPILED: return add_precompiled(l, c);
    case TYPE_BERT_NORMALIZER: return add_bert_normalizer(l, c);
    default:
        step.kind = NORMALIZE_UNICODE;
        step.compose = c->type == TYPE_NFC || c->type == TYPE_NFKC;
        step.compatible = c->type == TYPE_NFKC || c->type == TYPE_NFKD;
        break;
    }
    return add_step(l, c, step);
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
    if (!flag_or(c, FIELD_ADD_PREFIX_SPACE, true) && *out_scheme != PREPEND_NEVER) /* the other way the scheme counts */
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
        step->is_space_at_end = c->pattern_is_expression && text_is(step->pattern, "\\s+$");
        if (c->pattern_is_expression) TRY(tokenizer_open_expression(l->t, step->pattern, &step->expression, l->error));
        break;
    case TYPE_BYTE_LEVEL:
        step->kind = PRETOKENIZE_BYTE_LEVEL;
        step->prefix_space = flag_or(c, FIELD_ADD_PREFIX_SPACE, true);
        if (flag_or(c, FIELD_USE_REGEX, true))
            TRY(tokenizer_open_expression(l->t, (text_slice){BYTE_LEVEL_PATTERN, strlen(BYTE_LEVEL_PATTERN)},
                                          &step->expression, l->error));
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
    case TYPE_WHITESPACE: step->kind = PRETOKENIZE_WORDS; break;
    case TYPE_UNICODE_SCRIPTS: step->kind = PRETOKENIZE_SCRIPTS; break;
    case TYPE_DELIMITER_SPLIT:
        if (!is_one_character(c->texts[FIELD_DELIMITER]))
            return FAIL_COMPONENT(l, c, "pre_tokenizer: the delimiter is not one character");
        step->kind = PRETOKENIZE_SPLIT;
        step->pattern = c->texts[FIELD_DELIMITER];
        step->behaviour = SPLIT_REMOVED;
        break;
    case TYPE_FIXED_LENGTH:
        if (c->counts[FIELD_LENGTH] == 0) return FAIL_COMPONENT(l, c, "pre_tokenizer: pieces of no length");
        step->kind = PRETOKENIZE_FIXED_LENGTH;
        step->length = c->counts[FIELD_LENGTH];
        break;
    case TYPE_BERT_PRE_TOKENIZER: /* at white space, which vanishes; then at punctuation */
        if (t->pretokenize_count + 1 == TEXT_STEPS_MAX)
            return FAIL_COMPONENT(l, c, "pre_tokenizer: more than %d steps are not supported", TEXT_STEPS_MAX);
        step->is_cut = unicode_is_space;
        step->behaviour = SPLIT_REMOVED;
        step[1] = (pretokenize_step){.kind = PRETOKENIZE_SPLIT_CLASS, .is_cut = unicode_is_punctuation};
        t->pretokenize_count++;
        break;
    default:
        step->is_cut = unicode_is_space;
        step->behaviour = SPLIT_REMOVED;
        break;
    }
    t->pretokenize_count++;
    return LEAT_OK;
}

static leat_status read_metaspace_decoder(loader *l, const component *c, decode_step *step)
{
    prepend_scheme scheme;
    TRY(check_metaspace(l, c));
    TRY(read_prepend_scheme(l, c, &scheme));
    step->mark = c->texts[FIELD_REPLACEMENT];
    step->drops_first = scheme != PREPEND_NEVER;
    return LEAT_OK;
}

static leat_status read_replace_decoder(loader *l, const component *c, decode_step *step)
{
    step->mark = c->texts[FIELD_PATTERN];
    step->content = c->texts[FIELD_CONTENT];
    return c->pattern_is_expression ? tokenizer_open_expression(l->t, step->mark, &step->expression, l->error)
                                    : LEAT_OK;
}

static leat_status read_strip_decoder(loader *l, const component *c, decode_step *step)
{
    step->mark = c->texts[FIELD_CONTENT];
    step->start = c->counts[FIELD_START];
    step->stop = c->counts[FIELD_STOP];
    return is_one_character(step->mark) ? LEAT_OK
                                        : FAIL_COMPONENT(l, c, "decoder: the content of Strip is not one character");
}

static decode_kind decode_kind_of(component_type type)
{
    switch (type) {
    case TYPE_REPLACE: return DECODE_REPLACE;
    case TYPE_BYTE_FALLBACK: return DECODE_BYTE_FALLBACK;
    case TYPE_FUSE: return DECODE_FUSE;
    case TYPE_STRIP_DECODER: return DECODE_STRIP;
    case TYPE_BYTE_LEVEL: return DECODE_BYTE_LEVEL;
    case TYPE_WORDPIECE: return DECODE_WORDPIECE;
    case TYPE_CTC: return DECODE_CTC;
    case TYPE_BPE_DECODER: return DECODE_BPE;
    default: return DECODE_METASPACE;
    }
}

static leat_status add_decoder(loader *l, const component *c)
{
    decode_plan *plan = &l->t->decode;
    if (plan->count == TEXT_STEPS_MAX)
        return FAIL_COMPONENT(l, c, "decoder: more than %d steps are not supported", TEXT_STEPS_MAX);
    decode_step *step = &plan->steps[plan->count];
    *step = (decode_step){.kind = decode_kind_of(c->type)};
    switch (step->kind) {
    case DECODE_REPLACE: TRY(read_replace_decoder(l, c, step)); break;
    case DECODE_STRIP: TRY(read_strip_decoder(l, c, step)); break;
    case DECODE_METASPACE: TRY(read_metaspace_decoder(l, c, step)); break;
    case DECODE_BPE: step->mark = c->texts[FIELD_SUFFIX]; break;
    case DECODE_WORDPIECE:
        step->mark = (c->seen & BIT(FIELD_PREFIX)) != 0 ? c->texts[FIELD_PREFIX] : (text_slice){"##", 2};
        step->tidies = flag_or(c, FIELD_CLEANUP, true);
        break;
    case DECODE_CTC:
        step->mark = c->texts[FIELD_PAD];
        step->content = c->texts[FIELD_WORD_DELIMITER];
        step->tidies = flag_or(c, FIELD_CLEANUP, true);
        break;
    default: break;
    }
    plan->count++;
    return LEAT_OK;
}

static leat_status find_rule(loader *l, section where, const json_token *type, size_t *out_rule)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++)
        if (rules[i].section == where && json_text_is(type, rules[i].name)) {
            *out_rule = i;
            return LEAT_OK;
        }
    return FAIL_AT(l, type, "%s \"%s\" is not supported", section_names[where], loader_quote(type).text);
}

/* A component whose first token has been read. */
static leat_status read_component(loader *l, section where, const json_token *first, uint32_t depth)
{
    const char *name = section_names[where];
    enum { DEPTH_MAX = 4 };
    TRY(loader_expect(l, first, JSON_OBJECT_BEGIN, name, "an object"));
    if (depth > DEPTH_MAX) return FAIL_AT(l, first, "%s: sequences deeper than %d are not supported", name, DEPTH_MAX);
    component c = {.section = where, .offset = first->offset};
    size_t rule = ARRAY_COUNT(rules);
    for (;;) {
        json_token token;
        TRY(loader_next(l, &token));
        if (token.kind == JSON_OBJECT_END) break;
        if (json_text_is(&token, "type")) {
            TRY(loader_next(l, &token));
            TRY(loader_expect(l, &token, JSON_STRING, name, "a type"));
            TRY(find_rule(l, where, &token, &rule));
            continue;
        }
        size_t idx = 0;
        while (idx < ARRAY_COUNT(fields) && !json_text_is(&token, fields[idx].name)) idx++;
        if (idx == ARRAY_COUNT(fields))
            return FAIL_AT(l, &token, "%s: the field \"%s\" is not supported", name, loader_quote(&token).text);
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

leat_status loader_read_section(loader *l, section where)
{
    json_token token;
    TRY(loader_next(l, &token));
    if (token.kind == JSON_NULL) return LEAT_OK;
    if (where == SECTION_DECODER) l->has_decoder = true;
    return read_component(l, where, &token, 0);
}
