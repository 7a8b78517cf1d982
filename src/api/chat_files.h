/*
 * chat_files.h - the files of a folder that say how its model converses, and the templates out of them.
 *
 * Threads: any, with a ledger of its own.
 */
#ifndef API_CHAT_FILES_H
#define API_CHAT_FILES_H

#include "exec/checkpoint.h"
#include "text/chat_template.h"

/* As chat_source_find, from the folder's files, which are in memory of `pool` meanwhile. */
MUST_CHECK leat_status chat_files_find(const checkpoint *folder, mem *ledger, mem_pool pool, const tokenizer *t,
                                       chat_source *source, leat_error *error);

#endif
