/*
 * tokenizer_files.h - which file of a folder is its tokenizer, and the tokenizer out of it: tokenizer.json, else
 * tokenizer.model (SentencePiece), else tiktoken.model or the first *.tiktoken (a list of ranks).
 *
 * Threads: any, with a ledger of its own.
 */
#ifndef API_TOKENIZER_FILES_H
#define API_TOKENIZER_FILES_H

#include "exec/checkpoint.h"
#include "text/tokenizer.h"

enum { TOKENIZER_NAME_BYTES = 256 };

typedef struct tokenizer_place {
    tokenizer_file_kind kind;
    char name[TOKENIZER_NAME_BYTES]; /* "": the folder has no tokenizer */
    uint64_t json_bytes; /* about the size of a tokenizer.json that holds as much, which plans are made with */
} tokenizer_place;

MUST_CHECK leat_status tokenizer_place_find(const checkpoint *folder, tokenizer_place *out_place, leat_error *error);
/* LEAT_MODEL where the folder has none. `vocab_count` as in tokenizer_open. */
MUST_CHECK leat_status tokenizer_place_open(const checkpoint *folder, mem *ledger, uint32_t vocab_count,
                                            tokenizer **out_tokenizer, leat_error *error);

#endif
