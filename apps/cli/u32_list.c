#include "u32_list.h"

#include "base/bytes.h"

#include <string.h>

void u32_list_reset(u32_list *list)
{
    if (list->items) mem_free(list->ledger, list->items);
    *list = (u32_list){.ledger = list->ledger};
}

leat_status u32_list_append(u32_list *list, const uint32_t *items, size_t count, leat_error *error)
{
    uint64_t need;
    if (!size_add(list->count, count, &need)) return FAIL(error, NO_MEMORY, "a list is too long");
    if (need > list->capacity) {
        uint64_t capacity = max_u64(max_u64(256, need), list->capacity + list->capacity / 2);
        void *block = list->items;
        TRY(mem_resize(list->ledger, MEM_META, &block, capacity, sizeof *list->items, "list", error));
        list->items = block;
        list->capacity = capacity;
    }
    if (count > 0) memcpy(list->items + list->count, items, count * sizeof *items);
    list->count = need;
    return LEAT_OK;
}

leat_status u32_list_read(u32_list *list, const char *where, const char *text, size_t bytes, leat_error *error)
{
    for (size_t at = 0; at < bytes;) {
        if (text[at] != '\0' && strchr(", \t\r\n", text[at])) {
            at++;
            continue;
        }
        uint64_t id = 0;
        size_t begin = at;
        for (; at < bytes && text[at] >= '0' && text[at] <= '9' && id <= UINT32_MAX; at++)
            id = id * 10 + (uint64_t)(text[at] - '0');
        bool is_ended = at == bytes || (text[at] != '\0' && strchr(", \t\r\n", text[at]));
        if (at == begin || !is_ended || id > UINT32_MAX)
            return FAIL(error, USAGE, "%s: at byte %zu: expected token ids separated by commas or white space", where,
                        begin);
        uint32_t narrow = (uint32_t)id;
        TRY(u32_list_append(list, &narrow, 1, error));
    }
    return LEAT_OK;
}
