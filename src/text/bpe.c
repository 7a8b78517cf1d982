/*
 * bpe.c - the merge table, and the encoder of one word.
 *
 * A symbol keeps the rank of the pair that it begins, so an entry of the queue (rank, symbol) is stale exactly when the
 * symbol's rank has become another one: a rank belongs to one pair, and an entry is pushed for every change.
 *
 * Where a word may be cut: a merge that crosses the gap between characters x and y makes a token, so x is the last
 * character of the left half and y the first of the right half of some merge in the table. A gap whose (x, y) occurs in
 * no merge stays a gap for ever, and both sides can be encoded apart. The set of such (x, y) is kept as bits under a
 * hash: a collision only costs a cut. Byte and unknown tokens do not show their characters; cutting is off in the odd
 * table that merges them.
 */
#include "text/bpe.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <assert.h>
#include <string.h>

enum { CROSSING_BITS_MIN = 4096, CROSSING_BITS_MAX = 4 * 1024 * 1024 };

void bpe_init(bpe_model *b, mem *ledger, const vocabulary *vocab)
{
    *b = (bpe_model){.ledger = ledger, .vocab = vocab, .unk_id = VOCABULARY_NO_ID};
}

void bpe_reset(bpe_model *b)
{
    mem_free(b->ledger, b->merges);
    mem_free(b->ledger, b->slots);
    mem_free(b->ledger, b->crossings);
    mem_free(b->ledger, b->direct_ids);
    *b = (bpe_model){.ledger = b->ledger, .vocab = b->vocab, .unk_id = VOCABULARY_NO_ID};
}

leat_status bpe_add_merge(bpe_model *b, uint32_t left, uint32_t right, uint32_t merged, leat_error *error)
{
    assert(b->merge_count < BPE_MERGE_LIMIT);
    if (b->merge_count == b->merge_capacity) {
        uint64_t capacity = min_u64(BPE_MERGE_LIMIT, max_u64(4096, b->merge_capacity + b->merge_capacity / 2));
        void *block = b->merges;
        TRY(mem_resize(b->ledger, MEM_TOKENIZER, &block, capacity, sizeof *b->merges, "merges", error));
        b->merges = block;
        b->merge_capacity = capacity;
    }
    b->merges[b->merge_count++] = (bpe_merge){left, right, merged};
    return LEAT_OK;
}

/* The upper half of hash * count is uniform below count, so the table need not be a power of two. */
static uint64_t home_slot(const bpe_model *b, uint32_t left, uint32_t right)
{
    uint64_t hash = hash_u64(((uint64_t)left << 32 | right) ^ b->vocab->seed);
    return (uint64_t)(((unsigned __int128)hash * b->slot_count) >> 64);
}

static bpe_slot *find_slot(const bpe_model *b, uint32_t left, uint32_t right)
{
    uint64_t slot = home_slot(b, left, right);
    while (b->slots[slot].left != VOCABULARY_NO_ID && (b->slots[slot].left != left || b->slots[slot].right != right))
        slot = slot + 1 == b->slot_count ? 0 : slot + 1;
    return &b->slots[slot];
}

static leat_status take_slots(bpe_model *b, leat_error *error)
{
    b->slot_count = b->merge_count + b->merge_count / 2 + 16;
    TRY(MEM_NEW(b->ledger, TOKENIZER, b->slot_count, &b->slots, error));
    for (uint64_t i = 0; i < b->slot_count; i++) b->slots[i].left = VOCABULARY_NO_ID;
    return LEAT_OK;
}

static leat_status build_slots(bpe_model *b, leat_error *error)
{
    TRY(take_slots(b, error));
    for (uint64_t rank = 0; rank < b->merge_count; rank++) { /* of a pair that is listed twice the last rank counts */
        const bpe_merge *merge = &b->merges[rank];
        *find_slot(b, merge->left, merge->right) = (bpe_slot){merge->left, merge->right, (uint32_t)rank, merge->merged};
    }
    return LEAT_OK;
}

static uint64_t crossing_bit(const bpe_model *b, uint32_t left, uint32_t right)
{
    return hash_u64((uint64_t)left << 32 | right) & b->crossing_mask;
}

static bool may_cross(const bpe_model *b, uint32_t left, uint32_t right)
{
    uint64_t bit = crossing_bit(b, left, right);
    return (b->crossings[bit / 64] >> (bit % 64) & 1) != 0;
}

static uint32_t character_id(const bpe_model *b, const char *text, size_t bytes)
{
    uint32_t scalar;
    size_t length = utf8_decode(text, bytes, &scalar, NULL);
    assert(length == bytes);
    (void)length;
    if (scalar < BPE_DIRECT_COUNT) return b->direct_ids[scalar];
    return vocabulary_find(b->vocab, text, bytes, VOCABULARY_MODEL);
}

static uint32_t first_character_id(const bpe_model *b, const char *text)
{
    size_t bytes = 1;
    while (((unsigned char)text[bytes] & 0xc0) == 0x80) bytes++;
    return character_id(b, text, bytes);
}

static uint32_t last_character_id(const bpe_model *b, const char *text)
{
    size_t end = strlen(text), start = end - 1;
    while (((unsigned char)text[start] & 0xc0) == 0x80) start--;
    return character_id(b, text + start, end - start);
}

static bool is_opaque(const bpe_model *b, const uint8_t *byte_token_bits, uint32_t id)
{
    return id == b->unk_id || (byte_token_bits[id / 8] >> (id % 8) & 1) != 0;
}

static leat_status take_crossings(bpe_model *b, leat_error *error)
{
    uint64_t bits = CROSSING_BITS_MIN;
    while (bits < 32 * b->merge_count && bits < CROSSING_BITS_MAX) bits *= 2;
    b->crossing_mask = bits - 1;
    b->may_cut = true;
    return MEM_NEW(b->ledger, TOKENIZER, bits / 64, &b->crossings, error);
}

static void add_crossing(bpe_model *b, uint32_t left, uint32_t right)
{
    uint64_t bit = crossing_bit(b, last_character_id(b, vocabulary_text(b->vocab, left)),
                                first_character_id(b, vocabulary_text(b->vocab, right)));
    b->crossings[bit / 64] |= (uint64_t)1 << (bit % 64);
}

static leat_status build_crossings(bpe_model *b, leat_error *error)
{
    TRY(take_crossings(b, error));
    uint8_t *byte_token_bits;
    TRY(MEM_NEW(b->ledger, TOKENIZER, b->vocab->id_count / 8 + 1, &byte_token_bits, error));
    for (size_t i = 0; i < ARRAY_COUNT(b->byte_ids); i++)
        if (b->byte_ids[i] != VOCABULARY_NO_ID)
            byte_token_bits[b->byte_ids[i] / 8] |= (uint8_t)(1u << (b->byte_ids[i] % 8));

    for (uint64_t i = 0; i < b->merge_count; i++) {
        uint32_t left = b->merges[i].left, right = b->merges[i].right;
        if (is_opaque(b, byte_token_bits, left) || is_opaque(b, byte_token_bits, right)) b->may_cut = false;
        add_crossing(b, left, right);
    }
    mem_free(b->ledger, byte_token_bits);
    if (b->affixes.prefix_bytes + b->affixes.suffix_bytes > 0)
        b->may_cut = false; /* gaps are told by bare characters */
    return LEAT_OK;
}

static leat_status find_characters(bpe_model *b, leat_error *error)
{
    TRY(MEM_NEW(b->ledger, TOKENIZER, BPE_DIRECT_COUNT, &b->direct_ids, error));
    for (uint32_t scalar = 0; scalar < BPE_DIRECT_COUNT; scalar++) {
        char text[4];
        bool is_surrogate = scalar >= 0xd800 && scalar <= 0xdfff;
        b->direct_ids[scalar] = is_surrogate
                                    ? VOCABULARY_NO_ID
                                    : vocabulary_find(b->vocab, text, utf8_encode(scalar, text), VOCABULARY_MODEL);
    }
    return LEAT_OK;
}

leat_status bpe_finish(bpe_model *b, leat_error *error)
{
    TRY(find_characters(b, error));
    for (unsigned byte = 0; byte < 256; byte++) b->byte_ids[byte] = VOCABULARY_NO_ID;
    if (b->byte_fallback) vocabulary_find_bytes(b->vocab, VOCABULARY_MODEL, b->byte_ids);
    TRY(build_crossings(b, error));
    TRY(build_slots(b, error));
    mem_free(b->ledger, b->merges);
    b->merges = NULL;
    b->merge_capacity = 0;
    return LEAT_OK;
}

/* Every cut of a token is looked up, which takes the square of its length. */
static leat_status check_lengths(const bpe_model *b, const uint32_t *ranks, leat_error *error)
{
    const uint64_t work_max = (uint64_t)1 << 32;
    uint64_t work = 0;
    for (uint32_t id = 0; id < b->vocab->id_count; id++) {
        if (ranks[id] == BPE_NONE) continue;
        uint64_t bytes = strlen(vocabulary_text(b->vocab, id));
        work += bytes * bytes; /* below 2^58 for the longest, and the sum is looked at each time */
        if (work > work_max)
            return FAIL(error, MODEL, "the tokens are too long: the squares of their lengths sum to more than %llu",
                        (unsigned long long)work_max);
    }
    return LEAT_OK;
}

/* Calls `take` for every way to cut a token into two tokens of the model. */
static void for_each_split(bpe_model *b, uint32_t id, void (*take)(bpe_model *b, bpe_slot split), uint32_t rank)
{
    const char *text = vocabulary_text(b->vocab, id);
    size_t bytes = strlen(text);
    for (size_t cut = 1; cut < bytes; cut++) {
        if (((unsigned char)text[cut] & 0xc0) == 0x80) continue;
        uint32_t left = vocabulary_find(b->vocab, text, cut, VOCABULARY_MODEL);
        if (left == VOCABULARY_NO_ID) continue;
        uint32_t right = vocabulary_find(b->vocab, text + cut, bytes - cut, VOCABULARY_MODEL);
        if (right != VOCABULARY_NO_ID) take(b, (bpe_slot){left, right, rank, id});
    }
}

static void count_split(bpe_model *b, bpe_slot split)
{
    (void)split;
    b->merge_count++;
}

static void add_split(bpe_model *b, bpe_slot split)
{
    *find_slot(b, split.left, split.right) = split;
    add_crossing(b, split.left, split.right);
}

leat_status bpe_finish_by_rank(bpe_model *b, const uint32_t *ranks, leat_error *error)
{
    TRY(check_lengths(b, ranks, error));
    TRY(find_characters(b, error));
    for (uint32_t id = 0; id < b->vocab->id_count; id++)
        if (ranks[id] != BPE_NONE) for_each_split(b, id, count_split, 0);
    if (b->merge_count > BPE_MERGE_LIMIT)
        return FAIL(error, MODEL, "the tokens can be cut in two in %llu ways, at most %d are supported",
                    (unsigned long long)b->merge_count, BPE_MERGE_LIMIT);
    TRY(take_crossings(b, error));
    TRY(take_slots(b, error));
    for (uint32_t id = 0; id < b->vocab->id_count; id++)
        if (ranks[id] != BPE_NONE) for_each_split(b, id, add_split, ranks[id]);
    return LEAT_OK;
}

void bpe_scratch_init(bpe_scratch *scratch, mem *ledger)
{
    *scratch = (bpe_scratch){.ledger = ledger};
    merge_queue_init(&scratch->queue, ledger);
}

void bpe_scratch_reset(bpe_scratch *scratch)
{
    mem_free(scratch->ledger, scratch->symbols);
    mem_free(scratch->ledger, scratch->recent);
    merge_queue_reset(&scratch->queue);
    bpe_scratch_init(scratch, scratch->ledger);
}

/* What the merge table says of a pair; rank BPE_NONE: nothing. */
static const bpe_slot *find_recent(const bpe_model *b, bpe_scratch *scratch, uint32_t left, uint32_t right)
{
    bpe_slot *recent = &scratch->recent[hash_u64((uint64_t)left << 32 | right) % BPE_RECENT_COUNT];
    if (recent->left == left && recent->right == right) return recent;
    const bpe_slot *slot = find_slot(b, left, right);
    *recent = *slot;
    if (slot->left == VOCABULARY_NO_ID) *recent = (bpe_slot){left, right, BPE_NONE, VOCABULARY_NO_ID};
    return recent;
}

/* Looks the pair (symbol, its next) up again and queues it when it can be merged. */
static leat_status renew_pair(const bpe_model *b, bpe_scratch *scratch, uint32_t symbol, leat_error *error)
{
    bpe_symbol *left = &scratch->symbols[symbol];
    left->rank = BPE_NONE;
    if (left->next == BPE_NONE) return LEAT_OK;
    const bpe_slot *slot = find_recent(b, scratch, left->id, scratch->symbols[left->next].id);
    if (slot->rank == BPE_NONE) return LEAT_OK;
    left->rank = slot->rank;
    left->merged = slot->merged;
    return merge_queue_push(&scratch->queue, (uint64_t)left->rank << 32 | symbol, error);
}

/* A word of a few symbols: ids and the ranks of the pairs that they begin, close together. */
typedef struct short_word {
    uint32_t ids[BPE_SHORT_COUNT], ranks[BPE_SHORT_COUNT], merged[BPE_SHORT_COUNT];
    uint32_t count;
} short_word;

static void renew_short_pair(const bpe_model *b, bpe_scratch *scratch, short_word *w, uint32_t at)
{
    if (at + 1 == w->count) {
        w->ranks[at] = BPE_NONE;
        return;
    }
    const bpe_slot *slot = find_recent(b, scratch, w->ids[at], w->ids[at + 1]);
    w->ranks[at] = slot->rank;
    w->merged[at] = slot->merged;
}

static uint32_t lowest_pair(const short_word *w)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < w->count; i++)
        if (w->ranks[i] < w->ranks[best]) best = i;
    return best;
}

/* The definition itself: of few pairs the lowest is found sooner by looking than by keeping a queue in order. */
static leat_status merge_short(const bpe_model *b, bpe_scratch *scratch, uint32_t count, token_list *out_ids,
                               leat_error *error)
{
    short_word w;
    w.count = count;
    w.ids[0] = w.ranks[0] = BPE_NONE; /* for the compiler: there are two symbols or more */
    for (uint32_t i = 0; i < count; i++) w.ids[i] = scratch->symbols[i].id;
    for (uint32_t i = 0; i < count; i++) renew_short_pair(b, scratch, &w, i);
    for (;;) {
        scratch->steps += w.count;
        uint32_t at = lowest_pair(&w);
        if (w.ranks[at] == BPE_NONE) break;
        w.ids[at] = w.merged[at];
        w.count--;
        size_t moved = (w.count - at - 1) * sizeof w.ids[0];
        memmove(&w.ids[at + 1], &w.ids[at + 2], moved);
        memmove(&w.ranks[at + 1], &w.ranks[at + 2], moved);
        memmove(&w.merged[at + 1], &w.merged[at + 2], moved);
        renew_short_pair(b, scratch, &w, at);
        if (at > 0) renew_short_pair(b, scratch, &w, at - 1);
    }
    for (uint32_t i = 0; i < w.count; i++) TRY(token_list_push(out_ids, w.ids[i], error));
    return LEAT_OK;
}

/* Merges the collected symbols to the end, appends what is left of them and forgets them. */
static leat_status merge_symbols(const bpe_model *b, bpe_scratch *scratch, token_list *out_ids, leat_error *error)
{
    bpe_symbol *symbols = scratch->symbols;
    uint32_t count = (uint32_t)scratch->symbol_count;
    scratch->symbol_count = 0;
    if (count == 0) return LEAT_OK;
    if (count == 1) return token_list_push(out_ids, symbols[0].id, error);
    if (count <= BPE_SHORT_COUNT) return merge_short(b, scratch, count, out_ids, error);

    merge_queue_start(&scratch->queue, symbols, count, sizeof *symbols);
    for (uint32_t i = 0; i < count; i++) {
        symbols[i].previous = i == 0 ? BPE_NONE : i - 1;
        symbols[i].next = i + 1 == count ? BPE_NONE : i + 1;
    }
    for (uint32_t i = 0; i < count; i++) TRY(renew_pair(b, scratch, i, error));
    for (;;) {
        bool has_pair;
        uint64_t key;
        TRY(merge_queue_pop(&scratch->queue, &has_pair, &key, error));
        if (!has_pair) break;
        uint32_t at = (uint32_t)key;
        bpe_symbol *left = &symbols[at];
        if (left->rank != (uint32_t)(key >> 32)) continue; /* stale */
        bpe_symbol *right = &symbols[left->next];
        left->id = left->merged;
        left->next = right->next;
        right->rank = BPE_NONE;
        if (left->next != BPE_NONE) symbols[left->next].previous = at;
        TRY(renew_pair(b, scratch, at, error));
        if (left->previous != BPE_NONE) TRY(renew_pair(b, scratch, left->previous, error));
    }
    for (uint32_t i = 0; i != BPE_NONE; i = symbols[i].next) TRY(token_list_push(out_ids, symbols[i].id, error));
    return LEAT_OK;
}

/* A word on its way: its part from `start` on is still collected. */
typedef struct word_state {
    const char *text;
    const word_cache *parts; /* NULL: parts are not kept */
    uint64_t start;
    bool is_pure;   /* the part's symbols are those of its own characters */
    bool unk_waits; /* an unknown token is still to be added */
} word_state;

/* Ends the part before `end`. */
static leat_status finish_part(const bpe_model *b, bpe_scratch *scratch, word_state *s, uint64_t end,
                               token_list *out_ids, leat_error *error)
{
    const char *text = s->text + s->start;
    uint64_t bytes = end - s->start, before = out_ids->count;
    bool is_kept = scratch->symbol_count > 1 && s->is_pure && s->parts != NULL && word_cache_takes(s->parts, bytes);
    s->start = end;
    s->is_pure = true;
    if (!is_kept) return merge_symbols(b, scratch, out_ids, error);
    word_entry *entry = word_cache_place(s->parts, WORD_PART, text, bytes);
    if (word_entry_is(entry, WORD_PART, text, bytes)) {
        scratch->symbol_count = 0;
        return token_list_append(out_ids, entry->ids, entry->count, error);
    }
    TRY(merge_symbols(b, scratch, out_ids, error));
    word_entry_set(entry, WORD_PART, text, bytes, out_ids->ids + before, out_ids->count - before);
    return LEAT_OK;
}

/* The symbol of what begins at `at`. */
static leat_status add_symbol(const bpe_model *b, bpe_scratch *scratch, word_state *s, uint64_t at, uint32_t id,
                              token_list *out_ids, leat_error *error)
{
    uint64_t count = scratch->symbol_count;
    scratch->steps++;
    if (count > 0 && b->may_cut && !may_cross(b, scratch->symbols[count - 1].id, id)) {
        TRY(finish_part(b, scratch, s, at, out_ids, error));
        count = 0;
    }
    if (count == scratch->symbol_capacity) {
        uint64_t capacity = max_u64(256, scratch->symbol_capacity + scratch->symbol_capacity / 2);
        void *block = scratch->symbols;
        TRY(mem_resize(scratch->ledger, MEM_TOKENIZER, &block, capacity, sizeof *scratch->symbols, "symbols", error));
        scratch->symbols = block;
        scratch->symbol_capacity = capacity;
    }
    scratch->symbols[count] = (bpe_symbol){.id = id};
    scratch->symbol_count = count + 1;
    return LEAT_OK;
}

/* As the library does: an unknown token comes before the next one that is known, so behind byte tokens that follow it.
 */
static leat_status add_waiting_unk(const bpe_model *b, bpe_scratch *scratch, word_state *s, uint64_t at,
                                   token_list *out_ids, leat_error *error)
{
    if (!s->unk_waits) return LEAT_OK;
    s->unk_waits = false;
    TRY(add_symbol(b, scratch, s, at, b->unk_id, out_ids, error));
    s->is_pure = false;
    return LEAT_OK;
}

/* The tokens of a character that has none of its own. */
static leat_status add_missing_character(const bpe_model *b, bpe_scratch *scratch, word_state *s, uint64_t at,
                                         text_slice character, token_list *out_ids, leat_error *error)
{
    const uint8_t *text = (const uint8_t *)character.bytes;
    const uint64_t bytes = character.count;
    bool has_bytes = b->byte_fallback;
    for (uint64_t i = 0; i < bytes && has_bytes; i++) has_bytes = b->byte_ids[text[i]] != VOCABULARY_NO_ID;
    if (has_bytes) {
        for (uint64_t i = 0; i < bytes; i++) {
            TRY(add_symbol(b, scratch, s, at, b->byte_ids[text[i]], out_ids, error));
            s->is_pure = false; /* parts may end inside of the character */
        }
        return LEAT_OK;
    }
    if (b->missing_unk != NULL)
        return FAIL(error, MODEL, "a character has no token, and the unk_token \"%s\" is not in the vocabulary",
                    vocabulary_cut(b->missing_unk, strlen(b->missing_unk)).text);
    if (!b->fuse_unk) TRY(add_waiting_unk(b, scratch, s, at, out_ids, error));
    s->unk_waits = b->unk_id != VOCABULARY_NO_ID;
    s->is_pure = false;
    return LEAT_OK;
}

/* The character with what its place in the word puts around it, in `out`. */
static text_slice put_affixes(const bpe_affixes *a, text_slice character, bool is_first, bool is_last,
                              char out[2 * BPE_AFFIX_BYTES_MAX + 4])
{
    const size_t before = is_first ? 0 : a->prefix_bytes, behind = is_last ? a->suffix_bytes : 0;
    if (before > 0) memcpy(out, a->prefix, before);
    memcpy(out + before, character.bytes, character.count);
    if (behind > 0) memcpy(out + before + character.count, a->suffix, behind);
    return (text_slice){out, before + character.count + behind};
}

leat_status bpe_encode(const bpe_model *b, bpe_scratch *scratch, const char *word, uint64_t bytes, token_list *out_ids,
                       leat_error *error)
{
    assert(bytes < UINT32_MAX);
    if (b->ignore_merges) {
        uint32_t id = vocabulary_find(b->vocab, word, bytes, VOCABULARY_MODEL);
        if (id != VOCABULARY_NO_ID) return token_list_push(out_ids, id, error);
    }
    if (scratch->recent == NULL) {
        TRY(MEM_NEW(scratch->ledger, TOKENIZER, BPE_RECENT_COUNT, &scratch->recent, error));
        for (size_t i = 0; i < BPE_RECENT_COUNT; i++) scratch->recent[i].left = VOCABULARY_NO_ID;
    }
    scratch->symbol_count = 0;
    const bool has_affixes = b->affixes.prefix_bytes + b->affixes.suffix_bytes > 0;
    word_state s = {.text = word, .parts = bytes > WORD_CACHE_TEXT_MAX ? scratch->parts : NULL, .is_pure = true};
    for (uint64_t at = 0; at < bytes;) {
        uint32_t scalar;
        size_t length = utf8_decode(word + at, bytes - at, &scalar, NULL);
        assert(length > 0);
        text_slice character = {word + at, length};
        char spelled[2 * BPE_AFFIX_BYTES_MAX + 4];
        if (has_affixes) character = put_affixes(&b->affixes, character, at == 0, at + length == bytes, spelled);
        uint32_t id = scalar < BPE_DIRECT_COUNT && !has_affixes
                          ? b->direct_ids[scalar]
                          : vocabulary_find(b->vocab, character.bytes, character.count, VOCABULARY_MODEL);
        if (id != VOCABULARY_NO_ID) {
            TRY(add_waiting_unk(b, scratch, &s, at, out_ids, error));
            TRY(add_symbol(b, scratch, &s, at, id, out_ids, error));
        } else {
            TRY(add_missing_character(b, scratch, &s, at, character, out_ids, error));
        }
        at += length;
    }
    TRY(add_waiting_unk(b, scratch, &s, bytes, out_ids, error));
    return finish_part(b, scratch, &s, bytes, out_ids, error);
}
