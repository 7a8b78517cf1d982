/*
 * tokenizer_join.c - what is done once all parts of a tokenizer have been read, from whatever file: added tokens meet
 * the vocabulary, and what finds them in a text is built.
 */
#include "base/log.h"
#include "text/tokenizer_parts.h"

#include <inttypes.h>
#include <string.h>

leat_status tokenizer_named(const tokenizer *t, leat_status status, leat_error *error)
{
    if (status == LEAT_MODEL) status_prefix(error, "%s", t->name);
    return status;
}

/* Gives an added token to the vocabulary. */
static leat_status add_to_vocabulary(tokenizer *t, const added_token *added, leat_error *error)
{
    vocabulary *vocab = &t->vocab;
    uint32_t offset;
    if (vocabulary_has(vocab, added->id)) {
        const char *other = vocabulary_text(vocab, added->id);
        return FAIL(error, MODEL, "%s: id %" PRIu32 " is given to both \"%s\" and the added token \"%s\"", t->name,
                    added->id, vocabulary_cut(other, strlen(other)).text,
                    vocabulary_cut(added->content, added->content_bytes).text);
    }
    TRY(tokenizer_named(t, vocabulary_store(vocab, added->content, added->content_bytes, &offset, error), error));
    return vocabulary_add(vocab, offset, added->id, 0, error);
}

/* As the library does: a text that the vocabulary has keeps its id, whatever the list says, and of a text that is
 * listed twice the last one's settings count. */
static leat_status join_added_tokens(tokenizer *t, leat_error *error)
{
    vocabulary *vocab = &t->vocab;
    uint32_t kept = t->added_count; /* [kept, added_count) are done */
    for (uint32_t i = t->added_count; i-- > 0;) {
        added_token added = t->added[i];
        const uint32_t known = vocabulary_find(vocab, added.content, added.content_bytes, 0);
        if (known == VOCABULARY_NO_ID) TRY(add_to_vocabulary(t, &added, error));
        if (known != VOCABULARY_NO_ID && known != added.id) {
            log_write(LOG_WARN, "%s: the added token \"%s\" has id %" PRIu32 ", not %" PRIu32 " as the file says",
                      t->name, vocabulary_cut(added.content, added.content_bytes).text, known, added.id);
            added.id = known;
        }
        if ((vocab->flags[added.id] & VOCABULARY_ADDED) != 0) continue;
        vocab->flags[added.id] |= VOCABULARY_ADDED;
        if ((added.flags & ADDED_TOKEN_SPECIAL) != 0) vocab->flags[added.id] |= VOCABULARY_SPECIAL;
        t->added[--kept] = added;
    }
    if (t->added_count > 0) memmove(t->added, t->added + kept, (t->added_count - kept) * sizeof *t->added);
    t->added_count -= kept;
    return LEAT_OK;
}

/* Special tokens are searched before the others: of two patterns that are equal once normalised theirs counts. */
static leat_status put_special_first(tokenizer *t, leat_error *error)
{
    added_token *sorted;
    uint32_t count = 0;
    if (t->added_count == 0) return LEAT_OK;
    TRY(MEM_NEW(t->ledger, TOKENIZER, t->added_count, &sorted, error));
    for (int special = 1; special >= 0; special--)
        for (uint32_t i = 0; i < t->added_count; i++)
            if (((t->added[i].flags & ADDED_TOKEN_SPECIAL) != 0) == (special == 1)) sorted[count++] = t->added[i];
    mem_free(t->ledger, t->added);
    t->added = sorted;
    return LEAT_OK;
}

/* The pattern of a token that is searched in normalised text is its content after the normalizer. */
static leat_status normalize_pattern(tokenizer *t, normalize_scratch *scratch, added_token *added,
                                     token_pattern *out_pattern, leat_error *error)
{
    text_slice text = {added->content, added->content_bytes};
    uint64_t front = 1;
    TRY(normalize_run(t->normalize, t->normalize_count, scratch, text, &front, &text, error));
    if (text.count > ADDED_TOKEN_TOTAL_BYTES)
        return FAIL(error, MODEL, "%s: the added token with id %" PRIu32 " grows to %" PRIu64 " bytes when normalised",
                    t->name, added->id, text.count);
    const char *copy;
    TRY(arena_copy_text(&t->storage, text.bytes, text.count, &copy, error));
    *out_pattern = (token_pattern){copy, (uint32_t)text.count};
    if (strcmp(copy, added->content) != 0) t->vocab.flags[added->id] |= VOCABULARY_SHOWN_OTHERWISE;
    added->shown = copy;
    return LEAT_OK;
}

static leat_status open_matcher(tokenizer *t, bool normalized, normalize_scratch *scratch, token_pattern *patterns,
                                token_matcher **out_matcher, leat_error *error)
{
    bool is_empty = true;
    for (uint32_t i = 0; i < t->added_count; i++) {
        patterns[i] = (token_pattern){"", 0};
        if (((t->added[i].flags & ADDED_TOKEN_NORMALIZED) != 0) != normalized) continue;
        is_empty = false;
        if (normalized)
            TRY(normalize_pattern(t, scratch, &t->added[i], &patterns[i], error));
        else
            patterns[i] = (token_pattern){t->added[i].content, t->added[i].content_bytes};
    }
    if (is_empty) return LEAT_OK;
    return tokenizer_named(
        t, token_matcher_open(t->ledger, t->vocab.seed, patterns, t->added_count, out_matcher, error), error);
}

static leat_status open_matchers(tokenizer *t, leat_error *error)
{
    leat_status status;
    token_pattern *patterns;
    regex_scratch matches = {0};
    normalize_scratch scratch;
    TRY(MEM_NEW(t->ledger, TOKENIZER, t->added_count, &patterns, error));
    normalize_scratch_init(&scratch, t->ledger, &matches);
    TRY_OR(out, open_matcher(t, false, &scratch, patterns, &t->raw_matcher, error));
    TRY_OR(out, open_matcher(t, true, &scratch, patterns, &t->normalized_matcher, error));
out:
    normalize_scratch_reset(&scratch);
    regex_scratch_reset(&matches);
    mem_free(t->ledger, patterns);
    return status;
}

static leat_status check_template_ids(tokenizer *t, leat_error *error)
{
    for (uint32_t i = 0; i < t->prefix_count + t->suffix_count; i++) {
        uint32_t id = i < t->prefix_count ? t->prefix_ids[i] : t->suffix_ids[i - t->prefix_count];
        if (!vocabulary_has(&t->vocab, id))
            return FAIL(error, MODEL, "%s: the post_processor adds id %" PRIu32 ", which no token has", t->name, id);
    }
    return LEAT_OK;
}

leat_status tokenizer_join(tokenizer *t, leat_error *error)
{
    TRY(join_added_tokens(t, error));
    TRY(put_special_first(t, error));
    TRY(open_matchers(t, error));
    return check_template_ids(t, error);
}
