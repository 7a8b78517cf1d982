/*
 * audit_chain.h - the hash chain of an audit file (docs/formats/audit.md): each line's last member is
 *
 *     "chain": SHA-256(chain of the line before || the line up to that member)
 *
 * in hexadecimal; the first line follows 32 zero bytes.
 */
#ifndef CLI_AUDIT_CHAIN_H
#define CLI_AUDIT_CHAIN_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 2 * DIGEST_BYTES + 1 };

#define AUDIT_CHAIN_KEY ",\"chain\":\""

typedef struct audit_chain {
    EVP_MD_CTX *context; /* used for every digest, again and again */
    uint8_t last[DIGEST_BYTES];
} audit_chain;

/* The chain of no lines. Close also after a failure. */
MUST_CHECK leat_status audit_chain_open(audit_chain *chain, leat_error *error);
void audit_chain_close(audit_chain *chain);

/* SHA-256 of the pieces one after the other. */
typedef struct byte_span {
    const void *bytes;
    size_t count;
} byte_span;
MUST_CHECK leat_status audit_digest(audit_chain *chain, const byte_span *pieces, uint32_t count,
                                    uint8_t out[DIGEST_BYTES], leat_error *error);
/* Takes a line, without its chain member and end. */
MUST_CHECK leat_status audit_chain_add(audit_chain *chain, const char *line, size_t bytes, leat_error *error);
/* `count` bytes as terminated lower-case digits. */
void audit_hex(const uint8_t *bytes, size_t count, char *out);

#endif
