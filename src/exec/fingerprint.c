/*
 * fingerprint.c - SHA-256 over what says which model it is: config.json as text, then what the model made of the
 * tensors: weights and vectors in the model's order, each with its type and shape.
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

/* A stack of experts may be one tensor or many: its name is that of one way to store it, and is left out. */
static void add_weight(void *user, const weight *w, bool is_expert_stack, weight_place place)
{
    digester *d = user;
    const char *name = is_expert_stack ? "" : w->name, *type = quant_traits_table[w->shape.type].label;

    (void)place;
    add(d, name, strlen(name) + 1);
    add_u64(d, w->stack_count);
    add(d, type, strlen(type) + 1);
    add_u64(d, w->shape.rows);
    add_u64(d, w->shape.cols);
    add_u64(d, w->shape.group);
    for (int kind = 0; kind < PART_COUNT; kind++) add_u64(d, w->parts[0][kind].bytes);
}

static void add_vector(digester *d, const vector *v)
{
    add(d, v->name, strlen(v->name) + 1);
    add_u64(d, v->type);
    add_u64(d, v->count);
}

/* Texts with their end, numbers in 8 bytes: no two models look the same. */
static void add_model(digester *d, const model_desc *model)
{
    model_each_weight(model, add_weight, d);
    add_u64(d, model->vector_count);
    for (uint32_t i = 0; i < model->vector_count; i++) add_vector(d, &model->vectors[i]);
}

leat_status model_fingerprint(const checkpoint *c, const model_desc *model, char out[FINGERPRINT_BYTES],
                              leat_error *error)
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
    add_model(&d, model);
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
