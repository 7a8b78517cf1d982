#include "strbuf.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

void strbuf_reset(strbuf *s)
{
    if (s->bytes) mem_free(s->ledger, s->bytes);
    *s = (strbuf){.ledger = s->ledger};
}

void strbuf_drop_front(strbuf *s, size_t count)
{
    assert(count <= s->count);
    if (count == 0) return;
    memmove(s->bytes, s->bytes + count, s->count - count + 1);
    s->count -= count;
}

void strbuf_cut(strbuf *s, size_t count)
{
    assert(count <= s->count);
    s->count = count;
    if (s->bytes) s->bytes[count] = '\0';
}

const char *strbuf_text(const strbuf *s) { return s->bytes ? s->bytes : ""; }

leat_status strbuf_reserve(strbuf *s, size_t extra, leat_error *error)
{
    uint64_t need;
    if (!size_add(s->count, extra, &need) || !size_add(need, 1, &need))
        return FAIL(error, NO_MEMORY, "a text is too long");
    if (need <= s->capacity) return LEAT_OK;
    uint64_t capacity = max_u64(max_u64(64, need), s->capacity + s->capacity / 2);
    void *block = s->bytes;
    TRY(mem_resize(s->ledger, MEM_META, &block, capacity, 1, "text", error));
    s->bytes = block;
    s->capacity = capacity;
    return LEAT_OK;
}

void strbuf_extend(strbuf *s, size_t count)
{
    assert(s->count + count < s->capacity);
    s->count += count;
    s->bytes[s->count] = '\0';
}

leat_status strbuf_insert(strbuf *s, size_t at, const char *bytes, size_t count, leat_error *error)
{
    assert(at <= s->count);
    TRY(strbuf_reserve(s, count, error));
    memmove(s->bytes + at + count, s->bytes + at, s->count - at);
    if (count > 0) memcpy(s->bytes + at, bytes, count);
    strbuf_extend(s, count);
    return LEAT_OK;
}

leat_status strbuf_append(strbuf *s, const char *bytes, size_t count, leat_error *error)
{
    return strbuf_insert(s, s->count, bytes, count, error);
}

leat_status strbuf_append_text(strbuf *s, const char *text, leat_error *error)
{
    return strbuf_append(s, text, strlen(text), error);
}
