/*
 * pack_digest.c - a digest of many parts, or of one.
 */
#include "exec/pack_digest.h"

leat_status pack_digest_fail(leat_error *error) { return FAIL(error, INTERNAL, "the cryptographic library failed"); }

leat_status pack_digest_open(EVP_MD_CTX **out_context, leat_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1) {
        *out_context = context;
        return LEAT_OK;
    }
    EVP_MD_CTX_free(context);
    return pack_digest_fail(error);
}

leat_status pack_digest_of(const void *bytes, uint64_t count, uint8_t out[PACK_DIGEST_BYTES], leat_error *error)
{
    return EVP_Digest(bytes, count, out, NULL, EVP_sha256(), NULL) == 1 ? LEAT_OK : pack_digest_fail(error);
}
