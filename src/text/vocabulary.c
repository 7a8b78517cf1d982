/*
 * vocabulary.c - an open-addressing table of ids over one block of texts. A slot holds only the id; the text it belongs
 * to is read for every comparison, which costs a cache miss and saves two thirds of the table.
 */
#include "text/vocabulary.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void vocabulary_init(vocabulary *v, mem *ledger)
{
    *v = (vocabulary){.ledger = ledger};
    if (getrandom(&v->seed, sizeof v->seed, GRND_NONBLOCK) != (ssize_t)sizeof v->seed) v->seed = (uintptr_t)v;
}

void vocabulary_reset(vocabulary *v)
{
    mem_free(v->ledger, v->texts);
    mem_free(v->ledger, v->offsets);
    mem_free(v->ledger, v->flags);
    mem_free(v->ledger, v->slots);
    *v = (vocabulary){.ledger = v->ledger, .seed = v->seed};
}

vocabulary_quote vocabulary_cut(const char *text, size_t bytes)
{
    vocabulary_quote quote;
    size_t kept = bytes;
    if (bytes > VOCABULARY_QUOTE_BYTES) {
        kept = VOCABULARY_QUOTE_BYTES;
        while (kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80) kept--;
    }
    if (kept > 0) memcpy(quote.text, text, kept);
    memcpy(quote.text + kept, kept < bytes ? "..." : "", kept < bytes ? 4 : 1);
    return quote;
}

leat_status vocabulary_store(vocabulary *v, const char *text, size_t bytes, uint32_t *out_offset, leat_error *error)
{
    uint64_t start = v->text_bytes == 0 ? 1 : v->text_bytes; /* offset 0 stands for "no token" */
    if (bytes > VOCABULARY_TEXT_LIMIT || start + bytes + 1 > VOCABULARY_TEXT_LIMIT)
        return FAIL(error, MODEL, "the texts of the tokens are longer than %d bytes together", VOCABULARY_TEXT_LIMIT);
    uint64_t needed = start + bytes + 1;
    if (needed > v->text_capacity) {
        uint64_t capacity = max_u64(max_u64(needed, 64 * 1024), v->text_capacity + v->text_capacity / 2);
        void *block = v->texts;
        TRY(mem_resize(v->ledger, MEM_TOKENIZER, &block, capacity, 1, "token texts", error));
        v->texts = block;
        v->text_capacity = capacity;
    }
    memcpy(v->texts + start, text, bytes);
    v->texts[start + bytes] = 0;
    v->text_bytes = needed;
    *out_offset = (uint32_t)start;
    return LEAT_OK;
}

static leat_status make_room_for_id(vocabulary *v, uint32_t id, leat_error *error)
{
    if (id < v->id_capacity) return LEAT_OK;
    uint64_t capacity = min_u64(
        VOCABULARY_ID_LIMIT, max_u64(max_u64(1024, (uint64_t)id + 1), (uint64_t)v->id_capacity + v->id_capacity / 2));
    void *offsets = v->offsets, *flags = v->flags;
    TRY(mem_resize(v->ledger, MEM_TOKENIZER, &offsets, capacity, sizeof *v->offsets, "token offsets", error));
    v->offsets = offsets;
    TRY(mem_resize(v->ledger, MEM_TOKENIZER, &flags, capacity, sizeof *v->flags, "token flags", error));
    v->flags = flags;
    v->id_capacity = (uint32_t)capacity;
    return LEAT_OK;
}

static void put_in_free_slot(vocabulary *v, uint32_t id)
{
    const char *text = vocabulary_text(v, id);
    uint32_t mask = v->slot_count - 1;
    uint32_t slot = (uint32_t)hash_bytes(text, strlen(text), v->seed) & mask;
    while (v->slots[slot] != 0) slot = (slot + 1) & mask;
    v->slots[slot] = id + 1;
}

static leat_status make_room_for_slot(vocabulary *v, leat_error *error)
{
    if (((uint64_t)v->token_count + 1) * 2 <= v->slot_count) return LEAT_OK;
    uint32_t slot_count = v->slot_count == 0 ? 4096 : v->slot_count * 2;
    uint32_t *slots;
    TRY(MEM_NEW(v->ledger, TOKENIZER, slot_count, &slots, error));
    mem_free(v->ledger, v->slots);
    v->slots = slots;
    v->slot_count = slot_count;
    for (uint32_t id = 0; id < v->id_count; id++)
        if (vocabulary_has(v, id)) put_in_free_slot(v, id);
    return LEAT_OK;
}

leat_status vocabulary_add(vocabulary *v, uint32_t offset, uint32_t id, uint8_t flags, leat_error *error)
{
    assert(id < VOCABULARY_ID_LIMIT && !vocabulary_has(v, id));
    TRY(make_room_for_id(v, id, error));
    TRY(make_room_for_slot(v, error));
    v->offsets[id] = offset;
    v->flags[id] = flags;
    if (id >= v->id_count) v->id_count = id + 1;
    v->token_count++;
    put_in_free_slot(v, id);
    return LEAT_OK;
}

uint32_t vocabulary_find(const vocabulary *v, const char *text, size_t bytes, uint8_t flags)
{
    if (v->slot_count == 0) return VOCABULARY_NO_ID;
    uint32_t mask = v->slot_count - 1;
    uint32_t slot = (uint32_t)hash_bytes(text, bytes, v->seed) & mask;
    for (; v->slots[slot] != 0; slot = (slot + 1) & mask) {
        uint32_t id = v->slots[slot] - 1;
        uint64_t offset = v->offsets[id];
        if (bytes >= v->text_bytes - offset) continue; /* so that neither read below passes the end of the block */
        if (v->texts[offset + bytes] == 0 && memcmp(v->texts + offset, text, bytes) == 0)
            return (v->flags[id] & flags) == flags ? id : VOCABULARY_NO_ID;
    }
    return VOCABULARY_NO_ID;
}

void vocabulary_find_bytes(const vocabulary *v, uint8_t flags, uint32_t out_ids[256])
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        int bytes = snprintf(text, sizeof text, "<0x%02X>", byte);
        out_ids[byte] = vocabulary_find(v, text, (size_t)bytes, flags);
    }
}
