/* u32_list.h - a growing list of numbers, mostly token ids, from the program's ledger. A zeroed one with its ledger set
 * is empty and valid. */
#ifndef CLI_U32_LIST_H
#define CLI_U32_LIST_H

#include "base/mem.h"

typedef struct u32_list {
    mem *ledger;
    uint32_t *items;
    size_t count, capacity;
} u32_list;

void u32_list_reset(u32_list *list);
MUST_CHECK leat_status u32_list_append(u32_list *list, const uint32_t *items, size_t count, leat_error *error);
/* Appends decimal ids separated by commas or white space. `where` names the text in errors. */
MUST_CHECK leat_status u32_list_read(u32_list *list, const char *where, const char *text, size_t bytes,
                                     leat_error *error);

#endif
