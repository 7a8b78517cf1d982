/* unigram.c - see the header. */
#include "text/unigram.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <assert.h>

leat_status unigram_finish(unigram_model *u, leat_error *error)
{
    return piece_trie_open(&u->trie, u->vocab, VOCABULARY_MODEL, error);
}

void unigram_reset(unigram_model *u)
{
    mem_free(u->ledger, u->scores);
    piece_trie_reset(&u->trie);
    *u = (unigram_model){.ledger = u->ledger, .vocab = u->vocab, .unk_id = VOCABULARY_NO_ID};
}

void unigram_scratch_init(unigram_scratch *scratch, mem *ledger) { *scratch = (unigram_scratch){.ledger = ledger}; }

void unigram_scratch_reset(unigram_scratch *scratch)
{
    mem_free(scratch->ledger, scratch->nodes);
    unigram_scratch_init(scratch, scratch->ledger);
}

static leat_status take_nodes(unigram_scratch *scratch, uint64_t count, leat_error *error)
{
    if (count > scratch->capacity) {
        uint64_t capacity = max_u64(max_u64(256, count), scratch->capacity + scratch->capacity / 2);
        void *block = scratch->nodes;
        TRY(mem_resize(scratch->ledger, MEM_TOKENIZER, &block, capacity, sizeof *scratch->nodes, "unigram nodes",
                       error));
        scratch->nodes = block;
        scratch->capacity = capacity;
    }
    for (uint64_t i = 0; i < count; i++) scratch->nodes[i].start = UINT32_MAX;
    scratch->nodes[0].score = 0;
    return LEAT_OK;
}

static void offer(const unigram_model *u, unigram_node *nodes, uint32_t start, uint32_t end, uint32_t id, double score)
{
    unigram_node *node = &nodes[end];
    double sum = nodes[start].score + score;
    if (u->is_single) sum = (double)(float)sum;
    if (node->start != UINT32_MAX && !(sum > node->score)) return;
    node->score = sum;
    node->start = start;
    node->id = id;
}

/* All tokens that begin at `start`, which is a character of `length` bytes. */
static void offer_tokens(const unigram_model *u, unigram_scratch *scratch, const char *word, uint32_t bytes,
                         uint32_t start, uint32_t length)
{
    unigram_node *nodes = scratch->nodes;
    bool covers_one = false;
    uint32_t node = PIECE_TRIE_ROOT;
    for (uint32_t at = start; at < bytes;) {
        node = piece_trie_step(&u->trie, node, (uint8_t)word[at++]);
        scratch->steps++;
        if (node == PIECE_TRIE_NONE) break;
        uint32_t id = u->trie.ids[node];
        if (id == VOCABULARY_NO_ID) continue;
        offer(u, nodes, start, at, id, u->scores[id]);
        if (at - start == length) covers_one = true;
    }
    if (!covers_one) offer(u, nodes, start, start + length, u->unk_id, u->unk_score);
}

static bool has_all_bytes(const unigram_model *u, const char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (u->byte_ids[(uint8_t)text[i]] == VOCABULARY_NO_ID) return false;
    return u->byte_fallback;
}

/* A stretch of unknown characters; it may hold the text of the unknown token itself. */
static leat_status put_unknown(const unigram_model *u, const char *text, uint64_t bytes, token_list *out_ids,
                               leat_error *error)
{
    uint32_t id = vocabulary_find(u->vocab, text, bytes, VOCABULARY_MODEL);
    if (id != VOCABULARY_NO_ID) return token_list_push(out_ids, id, error);
    if (has_all_bytes(u, text, bytes)) {
        for (uint64_t i = 0; i < bytes; i++) TRY(token_list_push(out_ids, u->byte_ids[(uint8_t)text[i]], error));
        return LEAT_OK;
    }
    if (u->unk_id != VOCABULARY_NO_ID) return token_list_push(out_ids, u->unk_id, error);
    return FAIL(error, MODEL, "the tokenizer has no token for \"%s\", and none for what is unknown",
                vocabulary_cut(text, bytes).text);
}

static leat_status put_path(const unigram_model *u, unigram_node *nodes, const char *word, uint32_t bytes,
                            token_list *out_ids, leat_error *error)
{
    for (uint32_t end = bytes; end > 0; end = nodes[end].start) nodes[nodes[end].start].end = end;
    for (uint32_t start = 0; start < bytes;) {
        uint32_t end = nodes[start].end;
        if (nodes[end].id != u->unk_id) {
            TRY(token_list_push(out_ids, nodes[end].id, error));
        } else {
            while (end < bytes && nodes[nodes[end].end].id == u->unk_id) end = nodes[end].end;
            TRY(put_unknown(u, word + start, end - start, out_ids, error));
        }
        start = end;
    }
    return LEAT_OK;
}

leat_status unigram_encode(const unigram_model *u, unigram_scratch *scratch, const char *word, uint64_t bytes,
                           token_list *out_ids, leat_error *error)
{
    assert(bytes < UINT32_MAX);
    if (bytes == 0) return LEAT_OK;
    TRY(take_nodes(scratch, bytes + 1, error));
    for (uint32_t at = 0; at < bytes;) {
        uint32_t scalar;
        uint32_t length = (uint32_t)utf8_decode(word + at, bytes - at, &scalar, NULL);
        assert(length > 0);
        offer_tokens(u, scratch, word, (uint32_t)bytes, at, length);
        at += length;
    }
    return put_path(u, scratch->nodes, word, (uint32_t)bytes, out_ids, error);
}
