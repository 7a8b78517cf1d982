/*
 * pack_digest.h - SHA-256 of what a pack reads and writes. Threads: any.
 */
#ifndef EXEC_PACK_DIGEST_H
#define EXEC_PACK_DIGEST_H

#include "exec/pack_manifest.h"

#include <openssl/evp.h>

/* To be freed with EVP_MD_CTX_free. */
MUST_CHECK leat_status pack_digest_open(EVP_MD_CTX **out_context, leat_error *error);
MUST_CHECK leat_status pack_digest_of(const void *bytes, uint64_t count, uint8_t out[PACK_DIGEST_BYTES],
                                      leat_error *error);
/* Raises what a failed call of the library is. */
leat_status pack_digest_fail(leat_error *error);

#endif
