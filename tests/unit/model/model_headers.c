#include "model_headers.h"

#include "base/bytes.h"
#include "support/conformance.h"

model_headers *headers_open(void)
{
    static model_headers only;
    memset(&only, 0, sizeof only);
    only.ledger = open_ledger(0);
    only.float_type = DTYPE_BF16;
    only.prefix = "model.language_model.";
    return &only;
}

static void forget(model_headers *h)
{
    if (!h->is_built) return;
    hf_config_close(&h->config_values);
    hf_config_close(&h->generation_values);
    arena_reset(&h->memory);
    tensor_index_reset(&h->index);
    h->is_built = false;
}

void headers_close(model_headers *h)
{
    forget(h);
    close_empty_ledger(h->ledger);
}

void headers_add(model_headers *h, uint64_t a, uint64_t b, uint64_t c, const char *format, ...)
{
    char name[HEADER_NAME_BYTES];
    va_list args;
    assert_true(h->count < HEADERS_MAX);
    header *added = &h->list[h->count++];
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    assert_in_range(snprintf(added->name, sizeof added->name, "%s%s", h->prefix, name), 1, HEADER_NAME_BYTES - 1);
    added->type = h->float_type;
    added->dims[0] = a;
    added->dims[1] = b;
    added->dims[2] = c;
    added->rank = (a != 0) + (b != 0) + (c != 0);
}

header *headers_find(model_headers *h, const char *name)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (!strcmp(h->list[i].name, name)) return &h->list[i];
    fail_msg("the test has no tensor %s", name);
    return NULL;
}

void headers_remove(model_headers *h, const char *name)
{
    *headers_find(h, name) = h->list[h->count - 1];
    h->count--;
}

void headers_edit(model_headers *h, const char *from, const char *to)
{
    char rest[CONFIG_BYTES];
    char *at = strstr(h->config, from);
    if (at == NULL) fail_msg("the configuration has no %s", from);
    assert_null(strstr(at + 1, from));
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    const size_t room = sizeof h->config - (size_t)(at - h->config);
    assert_in_range(snprintf(at, room, "%s%s", to, rest), 0, room - 1);
}

static void add_all(model_headers *h)
{
    uint64_t end = 4096;
    for (uint32_t i = 0; i < h->count; i++) {
        const header *from = &h->list[i];
        tensor t = {.name = from->name, .type = from->type, .rank = from->rank, .offset = end};
        uint64_t elements = 1;
        for (uint32_t d = 0; d < t.rank; d++) elements *= t.dims[d] = from->dims[d];
        t.bytes = elements * dtype_bits(t.type) / 8;
        end += t.bytes;
        assert_int_equal(tensor_index_add(&h->index, &t, NULL), LEAT_OK);
    }
    assert_int_equal(tensor_index_finish(&h->index, (const char *const[]){"model.safetensors"}, NULL), LEAT_OK);
}

leat_status headers_try(model_headers *h, leat_error *error)
{
    forget(h);
    h->is_built = true;
    tensor_index_init(&h->index, h->ledger);
    arena_init(&h->memory, h->ledger, MEM_META, 4096);
    add_all(h);
    assert_ok(hf_config_open(h->ledger, "config.json", h->config, strlen(h->config), &h->config_values, error), error);
    if (h->generation[0])
        assert_ok(hf_config_open(h->ledger, "generation_config.json", h->generation, strlen(h->generation),
                                 &h->generation_values, error),
                  error);
    return model_build(&h->index, h->config_values, h->generation_values, &h->memory, &h->model, error);
}

const model_desc *headers_build(model_headers *h)
{
    leat_error error = {0};
    assert_ok(headers_try(h, &error), &error);
    return &h->model;
}

void headers_refuse(model_headers *h, const char *words)
{
    leat_error error = {0};
    assert_fails(MODEL, headers_try(h, &error), &error);
    if (!mentions_all(error.text, words)) fail_msg("expected \"%s\" in \"%s\"", words, error.text);
}
