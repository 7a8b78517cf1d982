/*
 * pack_manifest.h - leat-pack.json, which `leat pack` puts beside what it writes: the checksums of every byte of every
 * file, span by span (docs/formats/pack.md). To read a model it is not needed.
 */
#ifndef EXEC_PACK_MANIFEST_H
#define EXEC_PACK_MANIFEST_H

#include "base/arena.h"

#include <stdbool.h>

enum {
    PACK_VERSION = 1,
    PACK_ALIGN = 4096, /* of records, from the start of the file */
    PACK_DIGEST_BYTES = 32,
    PACK_DIGEST_TEXT = 2 * PACK_DIGEST_BYTES + 1,
    PACK_MANIFEST_BYTES_MAX = 256 << 20
};

#define PACK_MANIFEST_NAME "leat-pack.json"

typedef struct pack_span {
    uint64_t bytes;
    uint8_t digest[PACK_DIGEST_BYTES]; /* SHA-256 */
} pack_span;

/* The spans cover the file from its first byte to its last. */
typedef struct pack_file {
    const char *name;
    uint64_t bytes; /* sum over spans */
    pack_span *spans;
    uint64_t span_count, span_capacity;
} pack_file;

typedef struct pack_manifest {
    mem *ledger;
    arena names;
    char source[PACK_DIGEST_TEXT]; /* what was packed, and how */
    pack_file *files;
    uint32_t file_count;
} pack_manifest;

void pack_manifest_init(pack_manifest *m, mem *ledger);
void pack_manifest_reset(pack_manifest *m);
/* LEAT_MODEL on malformed text and other versions. Fills an empty manifest; to be reset also after a failure. */
MUST_CHECK leat_status pack_manifest_parse(pack_manifest *m, const char *text, uint64_t bytes, leat_error *error);
/* Copies the name; the file's spans are added to it. Valid until the next call. */
MUST_CHECK leat_status pack_manifest_add(pack_manifest *m, const char *name, pack_file **out_file, leat_error *error);
MUST_CHECK leat_status pack_file_add_span(pack_manifest *m, pack_file *listed, uint64_t bytes,
                                          const uint8_t digest[PACK_DIGEST_BYTES], leat_error *error);
/* NULL when it is not listed. */
const pack_file *pack_manifest_find(const pack_manifest *m, const char *name);
/* Writes or replaces the file at `path`. */
MUST_CHECK leat_status pack_manifest_save(const pack_manifest *m, const char *path, leat_error *error);

void pack_digest_text(const uint8_t digest[PACK_DIGEST_BYTES], char out[PACK_DIGEST_TEXT]);

/* ---- texts that grow: also the headers of the pack's files ---- */

typedef struct text_out {
    mem *ledger;
    char *text;
    uint64_t bytes, capacity;
} text_out;

MUST_CHECK leat_status text_out_add(text_out *t, leat_error *error, const char *format, ...) PRINTF_LIKE(3, 4);
/* A JSON string. */
MUST_CHECK leat_status text_out_add_string(text_out *t, const char *text, leat_error *error);

#endif
