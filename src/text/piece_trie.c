/*
 * piece_trie.c - built level by level from the sorted tokens: a node stands for the tokens that share what leads to it,
 * which are neighbours, and its children for the stretches of them that share one more byte. The children of a node
 * take the first free places that fit their bytes.
 */
#include "text/piece_trie.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { SCANNED_PLACES_MAX = 512, PLACES_OF_A_BASE = 256 };

#define FREE_PLACE UINT32_MAX

typedef struct builder {
    piece_trie *trie;
    const vocabulary *v;
    uint32_t *sorted; /* (count) ids by text */
    uint32_t count;
    uint32_t *places, *begin, *end; /* (node_capacity) of the nodes in their order: where each lies, and what it stands
                                       for in `sorted` */
    uint64_t node_count, node_capacity;
    uint64_t place_capacity;
    uint64_t first_free;      /* no place below it is free */
    uint64_t first_looked_at; /* for several children */
    uint64_t taken_end;       /* no place from it on is taken */
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
    mem *ledger = b->trie->ledger;
    TRY(MEM_NEW(ledger, TOKENIZER, b->node_capacity, &b->places, error));
    TRY(MEM_NEW(ledger, TOKENIZER, b->node_capacity, &b->begin, error));
    return MEM_NEW(ledger, TOKENIZER, b->node_capacity, &b->end, error);
}

static leat_status resize_places(builder *b, uint64_t count, leat_error *error)
{
    piece_trie *trie = b->trie;
    void *links = trie->links, *ids = trie->ids;
    TRY(mem_resize(trie->ledger, MEM_TOKENIZER, &links, count, sizeof *trie->links, "tree of tokens", error));
    trie->links = links;
    TRY(mem_resize(trie->ledger, MEM_TOKENIZER, &ids, count, sizeof *trie->ids, "tree of tokens", error));
    trie->ids = ids;
    for (uint64_t i = b->place_capacity; i < count; i++) {
        trie->links[i].parent = FREE_PLACE;
        trie->ids[i] = VOCABULARY_NO_ID;
    }
    b->place_capacity = count;
    return LEAT_OK;
}

/* Room for every child of a node with this base. */
static leat_status make_room(builder *b, uint64_t base, leat_error *error)
{
    uint64_t needed = base + PLACES_OF_A_BASE;
    if (needed > UINT32_MAX) return FAIL(error, MODEL, "the tokens are too many for a tree");
    if (needed > b->trie->place_count) b->trie->place_count = (uint32_t)needed;
    if (needed <= b->place_capacity) return LEAT_OK;
    return resize_places(b, max_u64(needed, b->place_capacity + b->place_capacity / 2), error);
}

static bool is_free(const builder *b, uint64_t place)
{
    return place >= b->place_capacity || b->trie->links[place].parent == FREE_PLACE;
}

/* The lowest base found soon at which all labels have free places; else one behind all places that are taken. Where
 * several labels found none, later ones need not look. */
static uint64_t find_base(builder *b, const uint8_t *labels, uint32_t count)
{
    while (!is_free(b, b->first_free)) b->first_free++;
    b->first_looked_at = max_u64(b->first_looked_at, b->first_free);
    uint64_t start = count == 1 ? b->first_free : b->first_looked_at;
    for (uint64_t place = start; place < start + SCANNED_PLACES_MAX; place++) {
        uint32_t fits = 0;
        while (fits < count && is_free(b, place + labels[fits] - labels[0])) fits++;
        if (fits == count) return place - labels[0];
    }
    b->first_looked_at += SCANNED_PLACES_MAX / 4;
    return max_u64(b->taken_end, PLACES_OF_A_BASE) - labels[0];
}

/* Gives the children of a node that lies `depth` bytes deep their places, and appends them. */
static leat_status add_children(builder *b, uint64_t node, uint32_t depth, leat_error *error)
{
    uint8_t labels[256];
    uint32_t count = 0, at = b->begin[node], end = b->end[node];
    uint32_t place = b->places[node];
    if (at < end && vocabulary_text(b->v, b->sorted[at])[depth] == 0) b->trie->ids[place] = b->sorted[at++];
    for (uint64_t child = b->node_count; at < end; child++) {
        char byte = vocabulary_text(b->v, b->sorted[at])[depth];
        labels[count++] = (uint8_t)byte;
        b->begin[child] = at;
        while (at < end && vocabulary_text(b->v, b->sorted[at])[depth] == byte) at++;
        b->end[child] = at;
    }
    if (count == 0) return LEAT_OK;
    uint64_t base = find_base(b, labels, count);
    TRY(make_room(b, base, error));
    b->trie->links[place].base = (uint32_t)base;
    for (uint32_t i = 0; i < count; i++) {
        b->places[b->node_count] = (uint32_t)base + labels[i];
        b->trie->links[base + labels[i]].parent = place;
        b->node_count++;
    }
    b->taken_end = max_u64(b->taken_end, base + labels[count - 1] + 1);
    return LEAT_OK;
}

static leat_status build(builder *b, leat_error *error)
{
    TRY(make_room(b, 0, error));
    b->first_free = PLACES_OF_A_BASE;                         /* above every byte, so that no base is below one */
    b->trie->links[PIECE_TRIE_ROOT].parent = PIECE_TRIE_ROOT; /* not free; a step to it means that there is no child */
    b->end[0] = b->count;
    b->node_count = 1;
    for (uint64_t node = 0, depth = 0; node < b->node_count; depth++)
        for (uint64_t level_end = b->node_count; node < level_end; node++)
            TRY(add_children(b, node, (uint32_t)depth, error));
    return resize_places(b, b->trie->place_count, error);
}

leat_status piece_trie_open(piece_trie *trie, const vocabulary *v, uint8_t flags, leat_error *error)
{
    leat_status status;
    *trie = (piece_trie){.ledger = v->ledger};
    builder b = {.trie = trie, .v = v};
    TRY_OR(out, sort_tokens(&b, flags, error));
    TRY_OR(out, take_nodes(&b, error));
    TRY_OR(out, build(&b, error));
out:
    mem_free(trie->ledger, b.sorted);
    mem_free(trie->ledger, b.places);
    mem_free(trie->ledger, b.begin);
    mem_free(trie->ledger, b.end);
    if (status != LEAT_OK) piece_trie_reset(trie);
    return status;
}

void piece_trie_reset(piece_trie *trie)
{
    if (trie->ledger == NULL) return;
    mem_free(trie->ledger, trie->links);
    mem_free(trie->ledger, trie->ids);
    *trie = (piece_trie){0};
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
