/* wordpiece.c - see the header. */
#include "text/wordpiece.h"

#include <string.h>

leat_status wordpiece_finish(wordpiece_model *w, leat_error *error)
{
    TRY(piece_trie_open(&w->trie, w->vocab, VOCABULARY_MODEL, error));
    uint32_t node = PIECE_TRIE_ROOT;
    for (const char *p = w->prefix; *p != 0; p++) {
        node = piece_trie_step(&w->trie, node, (uint8_t)*p);
        if (node == PIECE_TRIE_NONE) break;
    }
    w->prefix_node = node;
    return LEAT_OK;
}

void wordpiece_reset(wordpiece_model *w) { piece_trie_reset(&w->trie); }

/* The longest token below a node, cut at the end of a character. */
static uint32_t longest_below(const wordpiece_model *w, uint32_t node, const char *text, uint64_t bytes,
                              uint64_t *out_bytes, uint64_t *steps)
{
    uint32_t found = VOCABULARY_NO_ID;
    for (uint64_t i = 0; i < bytes; i++) {
        node = piece_trie_step(&w->trie, node, (uint8_t)text[i]);
        ++*steps;
        if (node == PIECE_TRIE_NONE) break;
        if (w->trie.ids[node] == VOCABULARY_NO_ID) continue;
        found = w->trie.ids[node];
        *out_bytes = i + 1;
    }
    return found;
}

static bool is_too_long(const wordpiece_model *w, const char *word, uint64_t bytes)
{
    uint64_t characters = 0;
    for (uint64_t i = 0; i < bytes; i++) characters += ((unsigned char)word[i] & 0xc0) != 0x80;
    return characters > w->characters_max;
}

static leat_status push_unknown(const wordpiece_model *w, token_list *out_ids, leat_error *error)
{
    if (w->missing_unk == NULL) return token_list_push(out_ids, w->unk_id, error);
    return FAIL(error, MODEL, "a word has no tokens, and the unk_token \"%s\" is not in the vocabulary",
                vocabulary_cut(w->missing_unk, strlen(w->missing_unk)).text);
}

leat_status wordpiece_encode_whole(const wordpiece_model *w, const char *word, uint64_t bytes, token_list *out_ids,
                                   leat_error *error)
{
    const uint32_t id = vocabulary_find(w->vocab, word, bytes, VOCABULARY_MODEL);
    return id == VOCABULARY_NO_ID ? push_unknown(w, out_ids, error) : token_list_push(out_ids, id, error);
}

leat_status wordpiece_encode(const wordpiece_model *w, const char *word, uint64_t bytes, token_list *out_ids,
                             uint64_t *steps, leat_error *error)
{
    uint64_t count_before = out_ids->count;
    *steps += bytes;
    if (is_too_long(w, word, bytes)) return push_unknown(w, out_ids, error);
    for (uint64_t at = 0, length = 0; at < bytes; at += length) {
        bool has_node = at == 0 || w->prefix[0] == 0 || w->prefix_node != PIECE_TRIE_NONE;
        uint32_t node = at == 0 ? PIECE_TRIE_ROOT : w->prefix_node;
        uint32_t id = has_node ? longest_below(w, node, word + at, bytes - at, &length, steps) : VOCABULARY_NO_ID;
        if (id == VOCABULARY_NO_ID) {
            out_ids->count = count_before;
            return push_unknown(w, out_ids, error);
        }
        TRY(token_list_push(out_ids, id, error));
    }
    return LEAT_OK;
}
