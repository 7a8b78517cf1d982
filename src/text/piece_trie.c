/*
 * piece_trie.c - built level by level from the sorted tokens: a node stands for the tokens that share what leads to it,
 * which are neighbours, and its children for the stretches of them that share one more byte.
 */
#include "text/piece_trie.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

typedef struct builder {
    piece_trie *trie;
    const vocabulary *v;
    uint32_t *sorted; /* (count) ids by text */
    uint32_t count;
    uint32_t *begin, *end; /* (node_capacity) what a node stands for, in `sorted` */
    uint64_t node_capacity;
} builder;

static int by_text(const void *a, const void *b, void *vocab)
{
    const vocabulary *v = vocab;
    return strcmp(vocabulary_text(v, *(const uint32_t *)a), vocabulary_text(v, *(const uint32_t *)b));
}

static uint64_t shared_bytes(const char *a, const char *b)
{
    uint64_t count = 0;
    while (a[count] != 0 && a[count] == b[count]) count++;
    return count;
}

static leat_status sort_tokens(builder *b, uint8_t flags, leat_error *error)
{
    const vocabulary *v = b->v;
    TRY(MEM_NEW(b->trie->ledger, TOKENIZER, max_u64(1, v->token_count), &b->sorted, error));
    b->node_capacity = 1;
    for (uint32_t id = 0; id < v->id_count; id++) {
        if (!vocabulary_has(v, id) || (v->flags[id] & flags) == 0) continue;
        const char *text = vocabulary_text(v, id);
        size_t bytes = strlen(text);
        if (bytes > PIECE_TRIE_BYTES_MAX)
            return FAIL(error, MODEL, "the token \"%s\" is %zu bytes long, at most %d are supported",
                        vocabulary_cut(text, bytes).text, bytes, PIECE_TRIE_BYTES_MAX);
        b->sorted[b->count++] = id;
    }
    qsort_r(b->sorted, b->count, sizeof *b->sorted, by_text, (void *)(uintptr_t)v);
    for (uint32_t i = 0; i < b->count; i++) {
        const char *text = vocabulary_text(v, b->sorted[i]);
        uint64_t shared = i == 0 ? 0 : shared_bytes(vocabulary_text(v, b->sorted[i - 1]), text);
        b->node_capacity += strlen(text) - shared;
    }
    return LEAT_OK;
}

static leat_status take_nodes(builder *b, leat_error *error)
{
    piece_trie *trie = b->trie;
    TRY(MEM_NEW(trie->ledger, TOKENIZER, b->node_capacity + 1, &trie->first, error));
    TRY(MEM_NEW(trie->ledger, TOKENIZER, b->node_capacity, &trie->ids, error));
    TRY(MEM_NEW(trie->ledger, TOKENIZER, b->node_capacity, &trie->labels, error));
    TRY(MEM_NEW(trie->ledger, TOKENIZER, b->node_capacity, &b->begin, error));
    return MEM_NEW(trie->ledger, TOKENIZER, b->node_capacity, &b->end, error);
}

/* Appends the children of a node that lies `depth` bytes deep. */
static void add_children(builder *b, uint32_t node, uint32_t depth)
{
    piece_trie *trie = b->trie;
    uint32_t at = b->begin[node], end = b->end[node];
    trie->first[node] = trie->node_count;
    trie->ids[node] = VOCABULARY_NO_ID;
    if (at < end && vocabulary_text(b->v, b->sorted[at])[depth] == 0) trie->ids[node] = b->sorted[at++];
    while (at < end) {
        char byte = vocabulary_text(b->v, b->sorted[at])[depth];
        uint32_t child = trie->node_count++;
        trie->labels[child] = (uint8_t)byte;
        b->begin[child] = at;
        while (at < end && vocabulary_text(b->v, b->sorted[at])[depth] == byte) at++;
        b->end[child] = at;
    }
}

leat_status piece_trie_open(piece_trie *trie, const vocabulary *v, uint8_t flags, leat_error *error)
{
    leat_status status;
    *trie = (piece_trie){.ledger = v->ledger};
    builder b = {.trie = trie, .v = v};
    TRY_OR(out, sort_tokens(&b, flags, error));
    TRY_OR(out, take_nodes(&b, error));
    b.end[0] = b.count;
    trie->node_count = 1;
    for (uint32_t node = 0, depth = 0; node < trie->node_count; depth++)
        for (uint32_t level_end = trie->node_count; node < level_end; node++) add_children(&b, node, depth);
    trie->first[trie->node_count] = trie->node_count;
    for (uint32_t child = trie->first[0]; child < trie->first[1]; child++) trie->roots[trie->labels[child]] = child;
out:
    mem_free(trie->ledger, b.sorted);
    mem_free(trie->ledger, b.begin);
    mem_free(trie->ledger, b.end);
    if (status != LEAT_OK) piece_trie_reset(trie);
    return status;
}

void piece_trie_reset(piece_trie *trie)
{
    if (trie->ledger == NULL) return;
    mem_free(trie->ledger, trie->first);
    mem_free(trie->ledger, trie->ids);
    mem_free(trie->ledger, trie->labels);
    *trie = (piece_trie){0};
}

uint32_t piece_trie_step(const piece_trie *trie, uint32_t node, uint8_t byte)
{
    if (node == PIECE_TRIE_ROOT) return trie->roots[byte];
    uint32_t low = trie->first[node], high = trie->first[node + 1];
    if (high - low == 1) return trie->labels[low] == byte ? low : PIECE_TRIE_NONE;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (trie->labels[middle] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low < trie->first[node + 1] && trie->labels[low] == byte ? low : PIECE_TRIE_NONE;
}

uint32_t piece_trie_longest(const piece_trie *trie, const char *text, uint64_t bytes, uint64_t *out_bytes)
{
    uint32_t node = PIECE_TRIE_ROOT, found = VOCABULARY_NO_ID;
    for (uint64_t i = 0; i < bytes; i++) {
        node = piece_trie_step(trie, node, (uint8_t)text[i]);
        if (node == PIECE_TRIE_NONE) break;
        if (trie->ids[node] == VOCABULARY_NO_ID) continue;
        found = trie->ids[node];
        *out_bytes = i + 1;
    }
    return found;
}
