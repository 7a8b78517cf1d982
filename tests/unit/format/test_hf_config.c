/* Questions to a configuration: where a key is looked for, what each kind of answer refuses and how it says so,
 * quantisation, ids. */
#include "format/hf_config.h"

#include "base/bytes.h"
#include "support/conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glob.h>
#include <math.h>

static mem *ledger;

static int open_ledger(void **state)
{
    (void)state;
    return mem_open(0, &ledger, NULL) != LEAT_OK;
}

static int close_ledger(void **state)
{
    (void)state;
    mem_close(&ledger);
    return 0;
}

static hf_config *config_of(const char *text)
{
    hf_config *config = NULL;
    leat_error error = {0};
    if (hf_config_open(ledger, "config.json", text, strlen(text), &config, &error) != LEAT_OK)
        fail_msg("%s", error.text);
    return config;
}

static void looks_below_text_config_first(void **state)
{
    (void)state;
    hf_config *config = config_of("{\"a\": 1, \"b\": 2, \"c\": null, \"d\": {\"x\": 5}, \"text_config\": {\"a\": 11, "
                                  "\"b\": null, \"d\": {\"y\": 6}}}");
    uint32_t value = 0;
    assert_string_equal(hf_config_name(config), "config.json");
    assert_int_equal(hf_config_u32(config, "a", 0, 99, &value, NULL), LEAT_OK);
    assert_int_equal(value, 11);
    assert_int_equal(hf_config_u32(config, "b", 0, 99, &value, NULL),
                     LEAT_OK); /* null below text_config is no answer */
    assert_int_equal(value, 2);
    assert_int_equal(hf_config_u32(config, "d/x", 0, 99, &value, NULL), LEAT_OK);
    assert_int_equal(value, 5);
    assert_int_equal(hf_config_u32(config, "d/y", 0, 99, &value, NULL), LEAT_OK);
    assert_int_equal(value, 6);
    assert_true(hf_config_has(config, "a"));
    assert_true(hf_config_has(config, "d/x"));
    assert_false(hf_config_has(config, "c"));
    assert_false(hf_config_has(config, "d/z"));
    assert_false(hf_config_has(config, "a/x"));
    assert_false(hf_config_has(config, ""));
    hf_config_close(&config);
    assert_null(config);
    hf_config_close(&config);
}

/* {text, words of the message}: documents that are refused at open. */
static void refuses_bad_documents(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "at byte"},
        {"{\"a\": 1", "at byte"},
        {"{\"a\": 1} x", "at byte"},
        {"[1]", "an array|expected an object"},
        {"7", "7|expected an object"},
        {"{\"a\": 1, \"a\": 1}", "\"a\""},
        {"{\"a\": {\"b\": 1, \"b\": 2}}", "\"b\""},
        {"{\"text_config\": 3}", "text_config is 3"},
        {"{\"a\": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", "at byte"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        hf_config *config = NULL;
        leat_error error = {0};
        assert_int_equal(hf_config_open(ledger, "config.json", cases[i][0], strlen(cases[i][0]), &config, &error),
                         LEAT_MODEL);
        assert_null(config);
        assert_true(mentions_all(error.text, "config.json"));
        assert_true(mentions_all(error.text, cases[i][1]));
    }
}

static void refuses_large_documents(void **state)
{
    (void)state;
    enum { BYTES = HF_CONFIG_BYTES_MAX + 1 };
    hf_config *config = NULL;
    leat_error error = {0};
    char *text = malloc(BYTES);
    memset(text, ' ', BYTES);
    text[0] = '{', text[1] = '}';
    assert_int_equal(hf_config_open(ledger, "config.json", text, BYTES - 1, &config, NULL), LEAT_OK);
    hf_config_close(&config);
    assert_int_equal(hf_config_open(ledger, "config.json", text, BYTES, &config, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "config.json|1048577|1048576"));
    /* A megabyte can hold half a million values; their number has its own limit. */
    for (size_t i = 6; i < BYTES; i++) text[i] = i % 2 == 0 ? '1' : ',';
    memcpy(text, "{\"a\":[", 6);
    memcpy(text + BYTES - 4, " ]}", 3);
    assert_int_equal(hf_config_open(ledger, "config.json", text, BYTES - 1, &config, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "config.json|262144"));
    free(text);
}

static void judges_integers(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t result; /* -1: refused */
        const char *words;
    } cases[] = {
        {"3", 3, ""},
        {"3.0", 3, ""},
        {"1", 1, ""},
        {"1024", 1024, ""},
        {"0", -1, "n is 0, expected 1 to 1024"},
        {"1025", -1, "n is 1025, expected 1 to 1024"},
        {"-2", -1, "n is -2, expected 1 to 1024"},
        {"1000000000", -1, "n is 1000000000, expected 1 to 1024"},
        {"4294967297", -1, "n is 4294967297, expected 1 to 1024"},
        {"18446744073709551615", -1, "n is 18446744073709551615, expected 1 to 1024"},
        {"1e30", -1, "n is 1e30, expected"},
        {"3.5", -1, "n is 3.5, expected an integer from 1 to 1024"},
        {"NaN", -1, "n is NaN, expected an integer"},
        {"Infinity", -1, "n is Infinity, expected an integer"},
        {"\"3\"", -1, "n is \"3\", expected an integer"},
        {"true", -1, "n is true, expected an integer"},
        {"[3]", -1, "n is an array, expected an integer"},
        {"{}", -1, "n is an object, expected an integer"},
        {"null", -1, "n is missing"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[128];
        uint32_t value = 77;
        leat_error error = {0};
        snprintf(text, sizeof text, "{\"n\": %s}", cases[i].value);
        hf_config *config = config_of(text);
        leat_status status = hf_config_u32(config, "n", 1, 1024, &value, &error);
        assert_int_equal(status, cases[i].result < 0 ? LEAT_MODEL : LEAT_OK);
        assert_int_equal(value, cases[i].result < 0 ? 77 : cases[i].result);
        if (status != LEAT_OK) assert_true(mentions_all(error.text, "config.json: n is"));
        assert_true(mentions_all(error.text, cases[i].words));
        hf_config_close(&config);
    }
}

/* What does not fit the widest integer does not turn into a small one. */
static void refuses_integers_of_any_size(void **state)
{
    (void)state;
    static const char *const values[] = {"9223372036854775808", "18446744073709551615", "18446744073709551616",
                                         "-9223372036854775809", "4294967296"};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        char text[64];
        uint32_t value;
        snprintf(text, sizeof text, "{\"n\": %s}", values[i]);
        hf_config *config = config_of(text);
        assert_int_equal(hf_config_u32(config, "n", 0, UINT32_MAX, &value, NULL), LEAT_MODEL);
        hf_config_close(&config);
    }
}

static void falls_back_only_when_absent(void **state)
{
    (void)state;
    hf_config *config = config_of("{\"i\": 5, \"f\": 2.5, \"nan\": NaN, \"inf\": Infinity, \"b\": false, \"s\": "
                                  "\"text\", \"z\": null, \"nul\": \"a\\u0000b\"}");
    uint32_t i = 0;
    double f = 0;
    bool b = true;
    char s[5];
    leat_error error = {0};
    assert_int_equal(hf_config_u32_or(config, "i", 1, 9, 7, &i, NULL), LEAT_OK);
    assert_int_equal(i, 5);
    assert_int_equal(hf_config_u32_or(config, "none", 1, 9, 7, &i, NULL), LEAT_OK);
    assert_int_equal(i, 7);
    assert_int_equal(hf_config_u32_or(config, "i", 6, 9, 7, &i, NULL), LEAT_MODEL);

    assert_int_equal(hf_config_f64_or(config, "f", 0, 3, 1, &f, NULL), LEAT_OK);
    assert_true(f == 2.5);
    assert_int_equal(hf_config_f64_or(config, "i", 0, 9, 1, &f, NULL), LEAT_OK);
    assert_true(f == 5);
    assert_int_equal(hf_config_f64_or(config, "z", 0, 3, 1, &f, NULL), LEAT_OK);
    assert_true(f == 1);
    assert_int_equal(hf_config_f64_or(config, "f", 0, 2, 1, &f, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "config.json: f is 2.5, expected a number from 0 to 2"));
    assert_int_equal(hf_config_f64_or(config, "nan", -INFINITY, INFINITY, 1, &f, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "nan is NaN"));
    assert_int_equal(hf_config_f64_or(config, "inf", 0, INFINITY, 1, &f, NULL), LEAT_OK);
    assert_true(isinf(f));
    assert_int_equal(hf_config_f64_or(config, "s", 0, 1, 1, &f, NULL), LEAT_MODEL);

    assert_int_equal(hf_config_bool_or(config, "b", true, &b, NULL), LEAT_OK);
    assert_false(b);
    assert_int_equal(hf_config_bool_or(config, "none", true, &b, NULL), LEAT_OK);
    assert_true(b);
    assert_int_equal(hf_config_bool_or(config, "i", true, &b, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "i is 5, expected true or false"));

    assert_int_equal(hf_config_text_or(config, "s", "x", s, sizeof s, NULL), LEAT_OK);
    assert_string_equal(s, "text");
    assert_int_equal(hf_config_text_or(config, "none", "x", s, sizeof s, NULL), LEAT_OK);
    assert_string_equal(s, "x");
    assert_int_equal(hf_config_text_or(config, "none", NULL, s, sizeof s, NULL), LEAT_OK);
    assert_string_equal(s, "");
    assert_int_equal(hf_config_text_or(config, "s", NULL, s, 4, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "s is \"text\", expected at most 3 bytes"));
    assert_int_equal(hf_config_text_or(config, "nul", NULL, s, sizeof s, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "nul is \"a\\x00b\""));
    assert_int_equal(hf_config_text_or(config, "i", NULL, s, sizeof s, NULL), LEAT_MODEL);
    hf_config_close(&config);
}

/* A path that runs into a number is a mistake in the file, not an absent key. */
static void refuses_paths_through_values(void **state)
{
    (void)state;
    hf_config *config = config_of("{\"rope\": {\"full\": 3}}");
    uint32_t value;
    leat_error error = {0};
    assert_int_equal(hf_config_u32_or(config, "rope/full/theta", 0, 9, 7, &value, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "config.json: rope/full is 3, expected an object"));
    assert_int_equal(hf_config_u32_or(config, "rope/other/theta", 0, 9, 7, &value, &error), LEAT_OK);
    hf_config_close(&config);
}

static void reads_arrays(void **state)
{
    (void)state;
    hf_config *config = config_of("{\"t\": [\"a\", [1, {\"x\": [2]}], \"bc\"], \"n\": [1, 2.5, {\"__float__\": "
                                  "\"-Infinity\"}], \"e\": [], \"x\": 3}");
    uint32_t count = 77, n;
    double f;
    char s[3];
    leat_error error = {0};
    assert_int_equal(hf_config_array_count(config, "t", &count, NULL), LEAT_OK);
    assert_int_equal(count, 3);
    assert_int_equal(hf_config_array_count(config, "e", &count, NULL), LEAT_OK);
    assert_int_equal(count, 0);
    assert_int_equal(hf_config_array_count(config, "none", &count, NULL), LEAT_OK);
    assert_int_equal(count, 0);
    assert_int_equal(hf_config_array_count(config, "x", &count, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "x is 3, expected an array"));
    assert_int_equal(hf_config_array_text(config, "t", 2, s, sizeof s, NULL), LEAT_OK);
    assert_string_equal(s, "bc");
    assert_int_equal(hf_config_array_text(config, "t", 1, s, sizeof s, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "t[1] is an array, expected a string"));
    assert_int_equal(hf_config_array_text(config, "t", 3, s, sizeof s, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "t[3] is missing|3 elements"));
    assert_int_equal(hf_config_array_u32(config, "n", 0, 0, 9, &n, NULL), LEAT_OK);
    assert_int_equal(n, 1);
    assert_int_equal(hf_config_array_u32(config, "n", 1, 0, 9, &n, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "n[1] is 2.5"));
    assert_int_equal(hf_config_array_f64(config, "n", 1, &f, NULL), LEAT_OK);
    assert_true(f == 2.5);
    assert_int_equal(hf_config_array_f64(config, "n", 2, &f, NULL), LEAT_OK);
    assert_true(isinf(f) && f < 0);
    assert_int_equal(hf_config_array_f64(config, "t", 0, &f, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "t[0] is \"a\", expected a number"));
    assert_int_equal(hf_config_array_f64(config, "x", 0, &f, NULL), LEAT_MODEL);
    hf_config_close(&config);
}

static void unites_token_ids(void **state)
{
    (void)state;
    hf_config *config = config_of(
        "{\"eos\": [1, 106, 1], \"one\": 5, \"bad\": [1, 320], \"text_config\": {\"eos\": 2, \"bad\": null}}");
    uint32_t ids[4] = {9}, count = 1;
    leat_error error = {0};
    assert_int_equal(hf_config_token_ids(config, "eos", 320, ids, 4, &count, NULL), LEAT_OK);
    assert_int_equal(count, 4);
    assert_memory_equal(ids, ((uint32_t[]){9, 1, 106, 2}), sizeof ids);
    assert_int_equal(hf_config_token_ids(config, "none", 320, ids, 4, &count, NULL), LEAT_OK);
    assert_int_equal(hf_config_token_ids(config, "eos", 320, ids, 4, &count, NULL),
                     LEAT_OK); /* all known: no room needed */
    assert_int_equal(hf_config_token_ids(config, "one", 320, ids, 4, &count, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "config.json: one|4 different"));
    assert_int_equal(count, 4);
    count = 0;
    assert_int_equal(hf_config_token_ids(config, "bad", 320, ids, 4, &count, &error), LEAT_MODEL);
    assert_true(mentions_all(error.text, "bad is 320, expected 0 to 319"));
    assert_int_equal(count, 0);
    hf_config_close(&config);
}

/* ---- quantisation ---- */

static void reads_the_top_level(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        quant_hint hint;
    } cases[] = {
        {"{}", {0}},
        {"{\"quantization\": null, \"quantization_config\": null}", {0}},
        {"{\"quantization\": {\"group_size\": 32, \"bits\": 6, \"mode\": \"affine\"}}",
         {.is_present = true, .has_group = true, .has_bits = true, .has_mode = true, .group = 32, .bits = 6}},
        {"{\"quantization\": {}}", {.is_present = true, .group = 64, .bits = 4}},
        {"{\"quantization\": {\"mode\": \"nvfp4\"}}",
         {.is_present = true, .has_mode = true, .group = 16, .bits = 4, .mode = QUANT_MODE_NVFP4}},
        {"{\"quantization\": {\"mode\": \"mxfp8\"}}",
         {.is_present = true, .has_mode = true, .group = 32, .bits = 8, .mode = QUANT_MODE_MXFP8}},
        {"{\"quantization_config\": {\"bits\": 3}}", {.is_present = true, .has_bits = true, .group = 64, .bits = 3}},
        {"{\"quantization_config\": {\"group_size\": 128}}",
         {.is_present = true, .has_group = true, .group = 128, .bits = 4}},
        {"{\"quantization_config\": {\"other\": 128}}", {0}},
        {"{\"text_config\": {\"quantization\": {\"bits\": 2}}}",
         {.is_present = true, .has_bits = true, .group = 64, .bits = 2}},
        /* `quantization` wins over what stands beside it. */
        {"{\"quantization\": {\"bits\": 4}, \"quantization_config\": {\"quant_method\": \"mxfp4\"}}",
         {.is_present = true, .has_bits = true, .group = 64, .bits = 4}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        hf_config *config = config_of(cases[i].text);
        quant_hint hint;
        const quant_hint *expected = &cases[i].hint;
        assert_int_equal(hf_config_quant(config, &hint, NULL), LEAT_OK);
        if (hint.is_present != expected->is_present || hint.has_group != expected->has_group ||
            hint.has_bits != expected->has_bits || hint.has_mode != expected->has_mode ||
            hint.group != expected->group || hint.bits != expected->bits || hint.mode != expected->mode || hint.is_off)
            fail_msg("misread: %s", cases[i].text);
        hf_config_close(&config);
    }
}

static void refuses_impossible_quantisation(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"quantization\": 4}", "quantization is 4"},
        {"{\"quantization\": {\"group_size\": 0}}", "quantization: group_size is 0, expected 16, 32, 64 or 128"},
        {"{\"quantization\": {\"group_size\": 48}}", "group_size is 48"},
        {"{\"quantization\": {\"group_size\": \"64\"}}", "group_size is \"64\""},
        {"{\"quantization\": {\"bits\": 0}}", "bits is 0, expected 1, 2, 3, 4, 5, 6 or 8"},
        {"{\"quantization\": {\"bits\": 7}}", "bits is 7"},
        {"{\"quantization\": {\"bits\": 9}}", "bits is 9"},
        {"{\"quantization\": {\"bits\": -4}}", "bits is -4"},
        {"{\"quantization\": {\"bits\": 4.5}}", "bits is 4.5"},
        {"{\"quantization\": {\"bits\": 18446744073709551615}}", "bits is 18446744073709551615"},
        {"{\"quantization\": {\"mode\": \"mxfp5\"}}", "mode is \"mxfp5\", expected affine, mxfp4, nvfp4 or mxfp8"},
        {"{\"quantization\": {\"mode\": 4}}", "mode is 4"},
        {"{\"quantization\": {\"bits\": 4, \"model.x\": {\"bits\": 17}}}", "quantization: model.x: bits is 17"},
        {"{\"quantization\": {\"bits\": 4, \"model.x\": {\"mode\": \"q4\"}}}", "model.x: mode is \"q4\""},
        {"{\"quantization_config\": {\"bits\": 4, \"quant_method\": \"awq\"}}", "quant_method \"awq\""},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}}", "quant_method \"fp8\""},
        {"{\"quantization_config\": {\"quant_method\": \"mxfp4\"}}", "quant_method \"mxfp4\""},
        {"{\"text_config\": {\"quantization_config\": {\"quant_method\": \"gptq\"}}}", "quant_method \"gptq\""},
        {"{\"quantization_config\": [4]}", "quantization_config is an array"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        hf_config *config = config_of(cases[i][0]);
        quant_hint hint = {.bits = 77};
        leat_error error = {0};
        if (hf_config_quant(config, &hint, &error) != LEAT_MODEL) fail_msg("accepted: %s", cases[i][0]);
        assert_int_equal(hint.bits, 77);
        assert_true(mentions_all(error.text, "config.json"));
        assert_true(mentions_all(error.text, cases[i][1]));
        hf_config_close(&config);
    }
}

static void finds_overrides(void **state)
{
    (void)state;
    hf_config *config =
        config_of("{\"quantization\": {\"group_size\": 32, \"bits\": 4, \"mode\": \"mxfp4\", \"linear_class\": \"x\","
                  " \"language_model.model.layers.0.a\": {\"group_size\": 128, \"bits\": 8},"
                  " \"model.layers.1.b\": false, \"layers.2.c\": true, \"model.language_model.layers.3.d\": {},"
                  " \"lm_head\": {\"bits\": 6}, \"model.layers.4.e\": {\"mode\": \"nvfp4\", \"global_scale\": true}, "
                  "\"model.layers.5.f\": 8}}");
    static const char *const roots[] = {"language_model.model.", "model.language_model.", "model.", "language_model.",
                                        ""};
    quant_hint hint;
    char path[128];
    for (size_t i = 0; i < ARRAY_COUNT(roots); i++) {
        snprintf(path, sizeof path, "%slayers.0.a", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_true(hint.is_present && !hint.is_off && hint.has_group && hint.has_bits && !hint.has_mode);
        assert_int_equal(hint.group, 128);
        assert_int_equal(hint.bits, 8);
        assert_int_equal(hint.mode, QUANT_MODE_AFFINE); /* not the top level's */
        snprintf(path, sizeof path, "%slayers.1.b", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_true(hint.is_present && hint.is_off);
        snprintf(path, sizeof path, "%slayers.2.c", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_true(hint.is_present && hint.mode == QUANT_MODE_MXFP4 && hint.group == 32);
        snprintf(path, sizeof path, "%slayers.3.d", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_true(hint.is_present && !hint.has_bits && !hint.has_group && hint.bits == 4 && hint.group == 64);
        snprintf(path, sizeof path, "%slayers.4.e", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_true(hint.has_global_scale && hint.mode == QUANT_MODE_NVFP4 && hint.group == 16);
        snprintf(path, sizeof path, "%slayers.5.f", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_false(hint.is_present);
        snprintf(path, sizeof path, "%slayers.9.a", roots[i]);
        assert_int_equal(hf_config_quant_override(config, path, &hint, NULL), LEAT_OK);
        assert_false(hint.is_present);
    }
    assert_int_equal(hf_config_quant_override(config, "language_model.lm_head", &hint, NULL), LEAT_OK);
    assert_true(hint.is_present && hint.bits == 6);
    assert_int_equal(hf_config_quant_override(config, "linear_class", &hint, NULL), LEAT_OK);
    assert_false(hint.is_present);
    hf_config_close(&config);

    config = config_of("{}");
    assert_int_equal(hf_config_quant_override(config, "model.layers.0.a", &hint, NULL), LEAT_OK);
    assert_false(hint.is_present);
    hf_config_close(&config);
}

static void survives_the_end_of_memory(void **state)
{
    (void)state;
    const char *text = "{\"a\": 1, \"text_config\": {\"b\": [1, 2, \"three\"]}, \"quantization\": {\"bits\": 4}}";
    leat_status status = LEAT_NO_MEMORY;
    for (uint64_t nth = 1; status != LEAT_OK; nth++) {
        hf_config *config = NULL;
        mem_fail_nth(ledger, nth);
        status = hf_config_open(ledger, "config.json", text, strlen(text), &config, NULL);
        mem_fail_nth(ledger, 0);
        assert_true(status == LEAT_OK || (status == LEAT_NO_MEMORY && config == NULL));
        hf_config_close(&config);
        assert_true(nth < 100);
    }
}

/* ---- the damaged configurations of the conformance data, asked as an architecture would ask ---- */

static leat_status ask(const char *folder, leat_error *error)
{
    static const struct {
        const char *key;
        uint32_t high;
    } questions[] = {
        {"hidden_size", 65536},
        {"num_hidden_layers", 1024},
        {"num_attention_heads", 1024},
        {"vocab_size", 1 << 24},
    };
    char below[256];
    uint64_t bytes;
    uint32_t value, count = 0, ids[8], vocab_count;
    quant_hint hint;
    hf_config *config = NULL;
    snprintf(below, sizeof below, "bad/%s/config.json", folder);
    char *text = conformance_load(below, &bytes);
    assert_non_null(text);
    leat_status status = hf_config_open(ledger, "config.json", text, bytes, &config, error);
    free(text); /* the configuration keeps what it needs */
    for (size_t i = 0; i < ARRAY_COUNT(questions) && status == LEAT_OK; i++)
        status = hf_config_u32(config, questions[i].key, 1, questions[i].high, &value, error);
    if (status == LEAT_OK) status = hf_config_u32(config, "vocab_size", 1, 1 << 24, &vocab_count, error);
    if (status == LEAT_OK) status = hf_config_token_ids(config, "eos_token_id", vocab_count, ids, 8, &count, error);
    if (status == LEAT_OK) status = hf_config_quant(config, &hint, error);
    hf_config_close(&config);
    return status;
}

static void judges_the_damaged_configurations(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"config-truncated", "config.json"},
        {"config-nan", "config.json|hidden_size"},
        {"config-missing-key", "config.json|num_hidden_layers"},
        {"config-layers-over-limit", "config.json|num_hidden_layers|1000000000"},
        {"config-negative-heads", "config.json|num_attention_heads|-2"},
        {"config-eos-outside-vocab", "eos_token_id|5000"},
        {"quant-mode-unknown", "config.json|mode|mxfp5"},
        {"quant-group-size-zero", "config.json|group_size"},
    };
    if (!conformance_has("bad/good/config.json")) skip();
    leat_error error = {0};
    if (ask("good", &error) != LEAT_OK) fail_msg("%s", error.text);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        error = (leat_error){0};
        assert_int_equal(ask(cases[i][0], &error), LEAT_MODEL);
        printf("[  NOTE    ] %s: %s\n", cases[i][0], error.text);
        assert_true(mentions_all(error.text, cases[i][1]));
    }
}

/* Published configurations open, and only those that say how else they are quantised are refused. */
static void opens_every_published_configuration(void **state)
{
    (void)state;
    static const char *const patterns[] = {"models/*/config.json", "mlx/*/config.json"};
    char pattern[4096];
    if (!conformance_has("models") || !conformance_has("mlx")) skip();
    for (size_t p = 0; p < ARRAY_COUNT(patterns); p++) {
        glob_t found;
        assert_int_equal(glob(conformance_path(patterns[p], pattern), 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            uint64_t bytes = 0;
            char *text = load_file(found.gl_pathv[i], &bytes), type[64];
            assert_non_null(text);
            hf_config *config = config_of(text);
            quant_hint hint;
            bool is_foreign = strstr(text, "\"quant_method\"") != NULL && strstr(text, "\"quantization\"") == NULL;
            assert_int_equal(hf_config_quant(config, &hint, NULL), is_foreign ? LEAT_MODEL : LEAT_OK);
            assert_int_equal(hf_config_text_or(config, "model_type", NULL, type, sizeof type, NULL), LEAT_OK);
            assert_true(type[0] != '\0');
            hf_config_close(&config);
            free(text);
        }
        globfree(&found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_below_text_config_first),
        cmocka_unit_test(refuses_bad_documents),
        cmocka_unit_test(refuses_large_documents),
        cmocka_unit_test(judges_integers),
        cmocka_unit_test(refuses_integers_of_any_size),
        cmocka_unit_test(falls_back_only_when_absent),
        cmocka_unit_test(refuses_paths_through_values),
        cmocka_unit_test(reads_arrays),
        cmocka_unit_test(unites_token_ids),
        cmocka_unit_test(reads_the_top_level),
        cmocka_unit_test(refuses_impossible_quantisation),
        cmocka_unit_test(finds_overrides),
        cmocka_unit_test(survives_the_end_of_memory),
        cmocka_unit_test(judges_the_damaged_configurations),
        cmocka_unit_test(opens_every_published_configuration),
    };
    return cmocka_run_group_tests(tests, open_ledger, close_ledger);
}
