#include "audit_chain.h"

leat_status audit_chain_open(audit_chain *chain, leat_error *error)
{
    *chain = (audit_chain){.context = EVP_MD_CTX_new()};
    return chain->context ? LEAT_OK : FAIL(error, NO_MEMORY, "no memory for SHA-256");
}

void audit_chain_close(audit_chain *chain)
{
    EVP_MD_CTX_free(chain->context);
    chain->context = NULL;
}

leat_status audit_digest(audit_chain *chain, const byte_span *pieces, uint32_t count, uint8_t out[DIGEST_BYTES],
                         leat_error *error)
{
    unsigned length;
    int is_good = EVP_DigestInit_ex(chain->context, EVP_sha256(), NULL);
    for (uint32_t i = 0; i < count && is_good == 1; i++)
        is_good = EVP_DigestUpdate(chain->context, pieces[i].bytes, pieces[i].count);
    if (is_good != 1 || EVP_DigestFinal_ex(chain->context, out, &length) != 1)
        return FAIL(error, INTERNAL, "SHA-256 failed");
    return LEAT_OK;
}

leat_status audit_chain_add(audit_chain *chain, const char *line, size_t bytes, leat_error *error)
{
    const byte_span pieces[] = {{chain->last, sizeof chain->last}, {line, bytes}};
    return audit_digest(chain, pieces, 2, chain->last, error);
}

void audit_hex(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}
