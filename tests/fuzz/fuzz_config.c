/*
 * fuzz_config.c - any bytes as a config.json, and every kind of question to it. What must hold: an answer lies in the
 * range that was asked for, a failure names the file and leaves the output alone, a question takes no memory.
 */
#include "fuzz/fuzz.h"

#include "format/hf_config.h"

#include <math.h>
#include <string.h>

const char *const fuzz_words[] = {
    "\"text_config\":{",
    "\"quantization\":{",
    "\"quantization_config\":{",
    "\"quant_method\":\"awq\"",
    "\"group_size\":32",
    "\"bits\":4",
    "\"mode\":\"mxfp4\"",
    "\"model.layers.0.x\":{",
    "\"model.layers.0.x\":false,",
    "\"a\":",
    "\"a\":{\"b\":",
    "\"ids\":[1,2]",
    "\"list\":[",
    "null",
    "NaN",
    "-Infinity",
    "3.0",
    "{\"__float__\":\"Infinity\"}",
    "\\u0000",
    "}",
    ",",
    NULL,
};

static const char *const keys[] = {"a", "a/b", "list", "ids", "quantization", "text_config", "a//b", "/", ""};

static void ask_for_scalars(const hf_config *config, const char *key)
{
    uint32_t integer = 77;
    double number = 77;
    bool flag = true;
    char text[16];
    leat_error error = {0};
    leat_status status = hf_config_u32(config, key, 3, 9, &integer, &error);
    FUZZ_CHECK(status == LEAT_OK ? integer >= 3 && integer <= 9 : integer == 77);
    FUZZ_CHECK(status == LEAT_OK || (status == LEAT_MODEL && strncmp(error.text, "fuzz.json: ", 11) == 0));
    FUZZ_CHECK(status != LEAT_OK || hf_config_has(config, key));
    if (hf_config_u32_or(config, key, 3, 9, 5, &integer, NULL) == LEAT_OK) FUZZ_CHECK(integer >= 3 && integer <= 9);
    if (hf_config_f64_or(config, key, -1, INFINITY, 0, &number, NULL) == LEAT_OK) FUZZ_CHECK(number >= -1);
    (void)!hf_config_bool_or(config, key, false, &flag, NULL);
    if (hf_config_text_or(config, key, "none", text, sizeof text, NULL) == LEAT_OK)
        FUZZ_CHECK(strlen(text) < sizeof text);
}

static void ask_for_arrays(const hf_config *config, const char *key)
{
    uint32_t count = 0, integer, ids[4], id_count = 0;
    double number;
    char text[16];
    if (hf_config_array_count(config, key, &count, NULL) != LEAT_OK) return;
    for (uint32_t i = 0; i <= count && i < 50; i++) {
        leat_status got_text = hf_config_array_text(config, key, i, text, sizeof text, NULL);
        leat_status got_number = hf_config_array_f64(config, key, i, &number, NULL);
        leat_status got_integer = hf_config_array_u32(config, key, i, 0, 9, &integer, NULL);
        FUZZ_CHECK(i < count || (got_text != LEAT_OK && got_number != LEAT_OK && got_integer != LEAT_OK));
        FUZZ_CHECK(got_text != LEAT_OK || got_number != LEAT_OK);
        if (got_integer == LEAT_OK) FUZZ_CHECK(integer <= 9 && got_number == LEAT_OK);
    }
    leat_status status = hf_config_token_ids(config, key, 300, ids, 4, &id_count, NULL);
    FUZZ_CHECK(status == LEAT_OK ? id_count <= 4 : id_count == 0);
    for (uint32_t i = 0; i < id_count; i++) FUZZ_CHECK(ids[i] < 300);
}

static void check_hint(const quant_hint *hint)
{
    if (!hint->is_present || hint->is_off) return;
    FUZZ_CHECK(hint->group == 16 || hint->group == 32 || hint->group == 64 || hint->group == 128);
    FUZZ_CHECK(hint->bits >= 1 && hint->bits <= 8 && hint->bits != 7);
    FUZZ_CHECK(quant_mode_label(hint->mode)[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    hf_config *config = NULL;
    leat_error error = {0};
    quant_hint hint;
    if (mem_open(64 << 20, &ledger, NULL) != LEAT_OK) return 0;
    leat_status status = hf_config_open(ledger, "fuzz.json", (const char *)bytes, count, &config, &error);
    FUZZ_CHECK(status == LEAT_OK ||
               (status == LEAT_MODEL && config == NULL && strncmp(error.text, "fuzz.json: ", 11) == 0));
    if (status == LEAT_OK) {
        mem_fail_nth(ledger, 1); /* from here on, an allocation would show as LEAT_NO_MEMORY */
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            ask_for_scalars(config, keys[i]);
            ask_for_arrays(config, keys[i]);
        }
        status = hf_config_quant(config, &hint, &error);
        FUZZ_CHECK(status == LEAT_OK || status == LEAT_MODEL);
        if (status == LEAT_OK) check_hint(&hint);
        /* What the whole dictionary passed, no override of it may fail. */
        leat_status of_override = hf_config_quant_override(config, "model.layers.0.x", &hint, NULL);
        FUZZ_CHECK(status != LEAT_OK || of_override == LEAT_OK);
        if (of_override == LEAT_OK) check_hint(&hint);
        mem_fail_nth(ledger, 0);
    }
    hf_config_close(&config);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}
