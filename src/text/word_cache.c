/* word_cache.c - see the header. */
#include "text/word_cache.h"

#include "base/hash.h"

#include <assert.h>
#include <string.h>

/* A table for a short text would cost more to clear than it saves. */
enum { TEXT_BYTES_MIN = 256, TEXT_BYTES_PER_ENTRY = 8 };

static uint64_t entry_count(uint64_t text_bytes)
{
    uint64_t count = 1;
    if (text_bytes < TEXT_BYTES_MIN) return 0;
    while (count < WORD_CACHE_COUNT_MAX && count * TEXT_BYTES_PER_ENTRY < text_bytes) count *= 2;
    return count;
}

uint64_t word_cache_bytes(uint64_t text_bytes) { return entry_count(text_bytes) * sizeof(word_entry); }

void word_cache_init(word_cache *cache, mem *ledger, uint64_t seed)
{
    *cache = (word_cache){.ledger = ledger, .seed = seed};
}

leat_status word_cache_fit(word_cache *cache, uint64_t text_bytes, leat_error *error)
{
    static_assert(sizeof(word_entry) * WORD_CACHE_COUNT_MAX == WORD_CACHE_BYTES_MAX, "an entry is a cache line");
    const uint64_t count = entry_count(text_bytes);
    if (count <= (cache->entries ? cache->mask + 1 : 0)) return LEAT_OK;
    void *block;
    word_cache_reset(cache);
    TRY(mem_alloc(cache->ledger, MEM_TOKENIZER, count, sizeof *cache->entries, sizeof *cache->entries, "word cache",
                  &block, error));
    cache->entries = block;
    cache->mask = count - 1;
    return LEAT_OK;
}

void word_cache_reset(word_cache *cache)
{
    mem_free(cache->ledger, cache->entries);
    cache->entries = NULL;
}

word_entry *word_cache_place(const word_cache *cache, word_kind kind, const char *text, uint64_t bytes)
{
    return &cache->entries[(hash_bytes(text, bytes, cache->seed) + (uint64_t)kind) & cache->mask];
}

bool word_entry_is(const word_entry *entry, word_kind kind, const char *text, uint64_t bytes)
{
    return entry->bytes == bytes && entry->kind == kind && memcmp(entry->text, text, bytes) == 0;
}

void word_entry_set(word_entry *entry, word_kind kind, const char *text, uint64_t bytes, const uint32_t *ids,
                    uint64_t count)
{
    assert(bytes > 0 && bytes <= WORD_CACHE_TEXT_MAX);
    if (count > WORD_CACHE_IDS_MAX) return;
    entry->bytes = (uint8_t)bytes;
    entry->kind = (uint8_t)kind;
    entry->count = (uint8_t)count;
    memcpy(entry->text, text, bytes);
    if (count > 0) memcpy(entry->ids, ids, count * sizeof *ids);
}
