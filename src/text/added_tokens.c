/*
 * added_tokens.c - the search.
 *
 * The usual scan from left to right must look beyond the end of a short token for a longer one, and goes back when
 * there is none: with tokens like "a" and "aaaa...b" that costs the length of the longest token for every character. So
 * the text is read from its end with an Aho-Corasick automaton of the reversed tokens. Its state at byte i knows the
 * longest token that *begins* there, in constant time and with no need to look ahead. These candidates come out from
 * right to left; taking them from left to right and dropping those that begin inside the one taken before gives
 * leftmost-longest.
 *
 *   nodes: a trie of the reversed tokens; edges lie in one hash table (node, byte) -> node, those of the root in an
 * array fail:  the node of the longest proper suffix that is in the trie found: the longest token that is a suffix of
 * the node's string
 */
#include "text/added_tokens.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "text/unicode_class.h"

#include <assert.h>

typedef struct edge {
    uint32_t key; /* node << 8 | byte; a child of the root is not here, so 0 is free */
    uint32_t child;
} edge;

_Static_assert(ADDED_TOKEN_TOTAL_BYTES < 1 << 24, "a node's index and a byte fit 32 bits");

struct token_matcher {
    mem *ledger;
    uint32_t root_children[256]; /* 0 = none */
    uint32_t *fail;              /* (node_count) */
    uint32_t *found;             /* (node_count) pattern + 1, 0 = none */
    uint32_t *lengths;           /* (pattern count) bytes */
    edge *edges;                 /* (edge_mask + 1) */
    uint32_t edge_mask;
    uint32_t node_count;
    uint64_t seed; /* of the hash; differs from run to run */
};

void token_search_init(token_search *search, mem *ledger) { *search = (token_search){.ledger = ledger}; }

void token_search_reset(token_search *search)
{
    mem_free(search->ledger, search->candidates.spans);
    mem_free(search->ledger, search->parts.spans);
    *search = (token_search){.ledger = search->ledger};
}

static leat_status push_span(mem *ledger, token_span_list *list, uint64_t start, uint64_t end, uint32_t token,
                             leat_error *error)
{
    if (list->count == list->capacity) {
        uint64_t capacity = max_u64(64, list->capacity + list->capacity / 2);
        void *block = list->spans;
        TRY(mem_resize(ledger, MEM_TOKENIZER, &block, capacity, sizeof *list->spans, "token spans", error));
        list->spans = block;
        list->capacity = capacity;
    }
    list->spans[list->count++] = (token_span){start, end, token};
    return LEAT_OK;
}

static edge *find_edge(const token_matcher *m, uint32_t node, uint8_t byte)
{
    uint32_t key = node << 8 | byte;
    uint32_t at = (uint32_t)hash_u64(key ^ m->seed) & m->edge_mask;
    while (m->edges[at].key != 0 && m->edges[at].key != key) at = (at + 1) & m->edge_mask;
    return &m->edges[at];
}

static uint32_t find_child(const token_matcher *m, uint32_t node, uint8_t byte)
{
    return node == 0 ? m->root_children[byte] : find_edge(m, node, byte)->child;
}

/* The state after a byte. Depth falls with every step along `fail` and rises by one a byte, so a text costs linear
 * time. */
static uint32_t step(const token_matcher *m, uint32_t node, uint8_t byte)
{
    uint32_t child;
    while ((child = find_child(m, node, byte)) == 0 && node != 0) node = m->fail[node];
    return child;
}

/* What building needs and searching does not. */
typedef struct build_node {
    uint32_t parent, depth;
    uint8_t byte;
} build_node;

static void add_pattern(token_matcher *m, build_node *nodes, const token_pattern *pattern, uint32_t idx)
{
    uint32_t node = 0;
    for (uint32_t i = pattern->bytes; i-- > 0;) {
        uint8_t byte = (uint8_t)pattern->text[i];
        uint32_t child = find_child(m, node, byte);
        if (child == 0) {
            child = m->node_count++;
            if (node == 0)
                m->root_children[byte] = child;
            else
                *find_edge(m, node, byte) = (edge){node << 8 | byte, child};
            nodes[child] = (build_node){node, nodes[node].depth + 1, byte};
        }
        node = child;
    }
    if (m->found[node] == 0) m->found[node] = idx + 1;
}

/* Fills `fail` and completes `found`; `order` lists the nodes by depth, so that what a node refers to is complete. */
static void link_nodes(token_matcher *m, const build_node *nodes, const uint32_t *order)
{
    for (uint32_t i = 1; i < m->node_count; i++) {
        uint32_t node = order[i];
        const build_node *n = &nodes[node];
        m->fail[node] = n->depth == 1 ? 0 : step(m, m->fail[n->parent], n->byte);
        if (m->found[node] == 0) m->found[node] = m->found[m->fail[node]];
    }
}

static leat_status sort_by_depth(const token_matcher *m, const build_node *nodes, uint32_t depth_max, uint32_t *order,
                                 leat_error *error)
{
    uint32_t *starts; /* (depth_max + 2) */
    TRY(MEM_NEW(m->ledger, TOKENIZER, (uint64_t)depth_max + 2, &starts, error));
    for (uint32_t i = 0; i < m->node_count; i++) starts[nodes[i].depth + 1]++;
    for (uint32_t d = 0; d < depth_max; d++) starts[d + 1] += starts[d];
    for (uint32_t i = 0; i < m->node_count; i++) order[starts[nodes[i].depth]++] = i;
    mem_free(m->ledger, starts);
    return LEAT_OK;
}

static leat_status build(token_matcher *m, const token_pattern *patterns, uint32_t count, uint64_t node_capacity,
                         uint32_t depth_max, leat_error *error)
{
    leat_status status;
    build_node *nodes = NULL;
    uint32_t *order = NULL;
    uint64_t edge_count = 64;
    while (edge_count < 2 * node_capacity) edge_count *= 2;
    m->edge_mask = (uint32_t)(edge_count - 1);
    m->node_count = 1;
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, edge_count, &m->edges, error));
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, node_capacity, &m->fail, error));
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, node_capacity, &m->found, error));
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, count, &m->lengths, error));
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, node_capacity, &nodes, error));
    TRY_OR(out, MEM_NEW(m->ledger, TOKENIZER, node_capacity, &order, error));
    for (uint32_t i = 0; i < count; i++) {
        m->lengths[i] = patterns[i].bytes;
        if (patterns[i].bytes > 0) add_pattern(m, nodes, &patterns[i], i);
    }
    TRY_OR(out, sort_by_depth(m, nodes, depth_max, order, error));
    link_nodes(m, nodes, order);
out:
    mem_free(m->ledger, nodes);
    mem_free(m->ledger, order);
    return status;
}

leat_status token_matcher_open(mem *ledger, uint64_t seed, const token_pattern *patterns, uint32_t count,
                               token_matcher **out_matcher, leat_error *error)
{
    assert(count <= ADDED_TOKEN_LIMIT);
    uint64_t total = 0;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += patterns[i].bytes;
        if (patterns[i].bytes > longest) longest = patterns[i].bytes;
    }
    if (total > ADDED_TOKEN_TOTAL_BYTES)
        return FAIL(error, MODEL, "the added tokens are %llu bytes long together, at most %d are supported",
                    (unsigned long long)total, ADDED_TOKEN_TOTAL_BYTES);
    token_matcher *m;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &m, error));
    m->ledger = ledger;
    m->seed = seed;
    leat_status status = build(m, patterns, count, total + 1, longest, error);
    if (status == LEAT_OK) {
        *out_matcher = m;
        m = NULL;
    }
    token_matcher_close(&m);
    return status;
}

void token_matcher_close(token_matcher **m)
{
    if (*m == NULL) return;
    mem_free((*m)->ledger, (*m)->fail);
    mem_free((*m)->ledger, (*m)->found);
    mem_free((*m)->ledger, (*m)->lengths);
    mem_free((*m)->ledger, (*m)->edges);
    mem_free((*m)->ledger, *m);
    *m = NULL;
}

/* The start of the character that ends at `end`. */
static uint64_t character_before(const char *text, uint64_t end, uint32_t *out_scalar)
{
    uint64_t start = end - 1;
    while (((unsigned char)text[start] & 0xc0) == 0x80) start--;
    utf8_decode(text + start, end - start, out_scalar, NULL);
    return start;
}

static bool is_word_before(const char *text, uint64_t at)
{
    uint32_t scalar;
    if (at == 0) return false;
    character_before(text, at, &scalar);
    return unicode_is_word(scalar);
}

static bool is_word_after(const char *text, uint64_t bytes, uint64_t at)
{
    uint32_t scalar;
    if (at == bytes) return false;
    utf8_decode(text + at, bytes - at, &scalar, NULL);
    return unicode_is_word(scalar);
}

/* The start of the white space that ends at `end`, not before `floor`. */
static uint64_t space_start(const char *text, uint64_t end, uint64_t floor)
{
    while (end > floor) {
        uint32_t scalar;
        uint64_t start = character_before(text, end, &scalar);
        if (!unicode_is_space(scalar)) break;
        end = start;
    }
    return end;
}

static uint64_t space_end(const char *text, uint64_t bytes, uint64_t at)
{
    while (at < bytes) {
        uint32_t scalar;
        size_t length = utf8_decode(text + at, bytes - at, &scalar, NULL);
        if (!unicode_is_space(scalar)) break;
        at += length;
    }
    return at;
}

static leat_status collect_candidates(const token_matcher *m, const char *text, uint64_t bytes, token_search *search,
                                      leat_error *error)
{
    uint32_t node = 0;
    search->candidates.count = 0;
    for (uint64_t i = bytes; i-- > 0;) {
        node = step(m, node, (uint8_t)text[i]);
        if (m->found[node] == 0) continue;
        uint32_t pattern = m->found[node] - 1;
        TRY(push_span(search->ledger, &search->candidates, i, i + m->lengths[pattern], pattern, error));
    }
    return LEAT_OK;
}

leat_status token_matcher_split(const token_matcher *m, const added_token *tokens, const char *text, uint64_t bytes,
                                token_search *search, leat_error *error)
{
    TRY(collect_candidates(m, text, bytes, search, error));
    search->parts.count = 0;
    uint64_t done = 0;                                 /* what lies before it has become parts */
    uint64_t match_end = 0;                            /* of the last match, without what it swallowed */
    uint64_t space_known_from = 1, space_known_to = 0; /* a run of white space: so that it is walked once only */
    for (uint64_t i = search->candidates.count; i-- > 0;) {
        token_span match = search->candidates.spans[i];
        if (match.start < match_end) continue;
        match_end = match.end;
        uint32_t flags = tokens == NULL ? 0 : tokens[match.token].flags;
        if ((flags & ADDED_TOKEN_SINGLE_WORD) != 0 &&
            (is_word_before(text, match.start) || is_word_after(text, bytes, match.end)))
            continue;
        if ((flags & ADDED_TOKEN_LSTRIP) != 0)
            match.start = match.start <= done ? done : space_start(text, match.start, done);
        if ((flags & ADDED_TOKEN_RSTRIP) != 0) {
            if (match.end < space_known_from || match.end > space_known_to) {
                space_known_from = match.end;
                space_known_to = space_end(text, bytes, match.end);
            }
            match.end = space_known_to;
        }
        if (done < match.start)
            TRY(push_span(search->ledger, &search->parts, done, match.start, TOKEN_SPAN_TEXT, error));
        TRY(push_span(search->ledger, &search->parts, match.start, match.end, match.token, error));
        done = match.end;
    }
    if (done < bytes) TRY(push_span(search->ledger, &search->parts, done, bytes, TOKEN_SPAN_TEXT, error));
    return LEAT_OK;
}
