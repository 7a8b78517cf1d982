/*
 * model_headers.h - checkpoints without bytes: a configuration, and tensors of which only names, types and shapes
 * exist. What a model_desc says follows from these alone, so models of any size can be described in a test.
 */
#ifndef TESTS_MODEL_HEADERS_H
#define TESTS_MODEL_HEADERS_H

#include "support/unit.h"

#include "model/model_build.h"

enum { HEADERS_MAX = 2048, HEADER_NAME_BYTES = 112, CONFIG_BYTES = 8192 };

typedef struct header {
    char name[HEADER_NAME_BYTES];
    dtype type;
    uint32_t rank;
    uint64_t dims[3];
} header;

typedef struct model_headers {
    mem *ledger;
    header list[HEADERS_MAX];
    uint32_t count;
    dtype float_type;                                    /* of tensors added from now on; BF16 at first */
    const char *prefix;                                  /* put before names; "model.language_model." at first */
    char config[CONFIG_BYTES], generation[CONFIG_BYTES]; /* generation "": none */
    /* what the last build made: */
    bool is_built;
    tensor_index index;
    arena memory;
    hf_config *config_values, *generation_values;
    model_desc model;
} model_headers;

/* One at a time; empty. */
model_headers *headers_open(void);
void headers_close(model_headers *h);

/* The name is a printf format; a dimension 0 is absent. */
void headers_add(model_headers *h, uint64_t a, uint64_t b, uint64_t c, const char *format, ...) PRINTF_LIKE(5, 6);
/* The tensor of that full name, which must exist. */
header *headers_find(model_headers *h, const char *name);
void headers_remove(model_headers *h, const char *name);
/* Replaces `from`, which must occur once in the configuration. */
void headers_edit(model_headers *h, const char *from, const char *to);

leat_status headers_try(model_headers *h, leat_error *error);
/* Must work. */
const model_desc *headers_build(model_headers *h);
/* Must fail with LEAT_MODEL and say every one of the words, which '|' separates. */
void headers_refuse(model_headers *h, const char *words);

#endif
