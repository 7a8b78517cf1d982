/*
 * fingerprint.c - SHA-256 over what says which model it is: config.json as text, then the tensors by name, each with
 * its type and shape.
 */
#include "exec/fingerprint.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

typedef struct digester {
    EVP_MD_CTX *context;
    bool is_failed;
} digester;

static void add(digester *d, const void *bytes, size_t count)
{
    if (EVP_DigestUpdate(d->context, bytes, count) != 1) d->is_failed = true;
}

static void add_u64(digester *d, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    add(d, bytes, sizeof bytes);
}

/* Texts with their end, numbers in 8 bytes: no two tables look the same. */
static void add_tensor(digester *d, const tensor *t)
{
    const char *type = dtype_label(t->type);

    add(d, t->name, strlen(t->name) + 1);
    add(d, type, strlen(type) + 1);
    add_u64(d, t->rank);
    for (uint32_t i = 0; i < t->rank; i++) add_u64(d, t->dims[i]);
}

leat_status checkpoint_fingerprint(const checkpoint *c, char out[FINGERPRINT_BYTES], leat_error *error)
{
    leat_status status = LEAT_OK;
    digester d = {0};
    uint8_t digest[FINGERPRINT_BYTES / 2];
    unsigned length = 0;
    char *config = NULL;
    uint64_t config_bytes = 0;

    TRY(checkpoint_load_text(c, "config.json", c->ledger, MEM_META, &config, &config_bytes, error));
    d.context = EVP_MD_CTX_new();
    if (!d.context || EVP_DigestInit_ex(d.context, EVP_sha256(), NULL) != 1) {
        status = FAIL(error, INTERNAL, "SHA-256 is not available");
        goto done;
    }
    add_u64(&d, config_bytes);
    if (config) add(&d, config, config_bytes);
    add_u64(&d, c->index.count);
    for (uint64_t i = 0; i < c->index.count; i++) add_tensor(&d, &c->index.tensors[i]);
    if (d.is_failed || EVP_DigestFinal_ex(d.context, digest, &length) != 1) {
        status = FAIL(error, INTERNAL, "SHA-256 failed");
        goto done;
    }
    for (size_t i = 0; i < sizeof digest; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
done:
    EVP_MD_CTX_free(d.context);
    mem_free(c->ledger, config);
    return status;
}
