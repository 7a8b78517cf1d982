/* The rules of docs/formats/safetensors.md, each with a header that breaks it and nothing else. */
#include "format/safetensors.h"

#include "base/bytes.h"
#include "support/conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glob.h>

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

static leat_status parse(const char *header, uint64_t data_bytes, tensor_index *index, leat_error *error)
{
    /* A copy of exactly the header's size, so that a read beyond it is seen by the address sanitiser. */
    size_t length = strlen(header);
    char *exact = malloc(length);
    memcpy(exact, header, length);
    leat_status status =
        safetensors_parse(ledger, "m.safetensors", 3, 8 + length + data_bytes, exact, length, index, error);
    free(exact);
    return status;
}

#define T(dtype, shape, begin, end)                                                                                    \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void reads_a_good_header(void **state)
{
    (void)state;
    /* In no order, with empty tensors between, a scalar, a packed type, an unknown key and padding. */
    const char *header = "{\"b\":" T(
        "BF16", "[2, 3]", 8,
        20) ",\"__metadata__\":{\"format\":\"mlx\"},"
            "\"a\":" T("F64", "[]", 0, 8) ",\"z0\":" T("F32", "[0, 5]", 8, 8) ",\"z1\":" T(
                "U8", "[0]", 21,
                21) ","
                    "\"p\":{\"data_offsets\":[20,21],\"extra\":[1,{}],\"shape\":[2],\"dtype\":\"F4\"}}     ";
    tensor_index index;
    leat_error error = {0};
    tensor_index_init(&index, ledger);
    if (parse(header, 21, &index, &error) != LEAT_OK) fail_msg("%s", error.text);
    assert_int_equal(tensor_index_finish(&index, (const char *const[]){"", "", "", "m"}, NULL), LEAT_OK);
    assert_int_equal(index.count, 5);
    const tensor *b = tensor_index_find(&index, "b");
    assert_non_null(b);
    assert_int_equal(b->type, DTYPE_BF16);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->dims[0], 2);
    assert_int_equal(b->dims[1], 3);
    assert_int_equal(b->file_idx, 3);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(b->offset, 8 + strlen(header) + 8);
    assert_int_equal(tensor_index_find(&index, "a")->rank, 0);
    assert_int_equal(tensor_index_find(&index, "p")->type, DTYPE_F4);
    tensor_index_reset(&index);
}

/* Begins alone do not order them: the empty tensor comes first. */
static void orders_empty_tensors(void **state)
{
    (void)state;
    tensor_index index;
    leat_error error = {0};
    tensor_index_init(&index, ledger);
    if (parse("{\"a\":" T("U8", "[4]", 0, 4) ",\"b\":" T("U8", "[0]", 0, 0) "}", 4, &index, &error) != LEAT_OK)
        fail_msg("%s", error.text);
    tensor_index_reset(&index);
}

static void reads_an_empty_shard(void **state)
{
    (void)state;
    tensor_index index;
    tensor_index_init(&index, ledger);
    assert_int_equal(parse("{}", 0, &index, NULL), LEAT_OK);
    assert_int_equal(index.count, 0);
    tensor_index_reset(&index);
}

static const struct {
    const char *header;
    uint64_t data_bytes;
    const char *words; /* all occur in the message, beside the file's name */
} broken[] = {
    /* 4 */
    {" {}", 0, "0x20"},
    {"[]", 0, "0x5b"},
    {"{}\n", 0, "0x0a"},
    {"{} x", 0, "0x78"},
    {"{}}", 0, "byte 2"},
    /* 5 */
    {"{\"a\":" T("F32", "[1]", 0, 4) " \"b\":" T("F32", "[1]", 4, 8) "}", 8, "at byte"},
    {"{\"a\":" T("F32", "[1]", 0, 4) ",}", 4, "at byte"},
    {"{\"\xff\":" T("F32", "[1]", 0, 4) "}", 4, "at byte"},
    {"{\"a\":[[[[]]]]}", 0, "a|array"},
    {"{\"a\":{\"x\":[[[[]]]]}}", 0, "at byte"},
    {"{\"a\":" T("F32", "[1]", 0, 4) ",\"a\":" T("F32", "[1]", 4, 8) "}", 8, "\"a\""},
    {"{\"a\\u0007b\":" T("F32", "[1]", 0, 4) "}", 4, "control|a\\x07b"},
    {"{\"a\\u007f\":" T("F32", "[1]", 0, 4) "}", 4, "control"},
    {"{\"a\\u009b\":" T("F32", "[1]", 0, 4) "}", 4, "control"},
    {"{\"a\":3}", 0, "tensor a|the entry is 3"},
    /* 6 */
    {"{\"a\":" T("F7", "[1]", 0, 4) "}", 4, "tensor a|F7"},
    {"{\"a\":" T("f32", "[1]", 0, 4) "}", 4, "tensor a|f32"},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a|dtype is 7"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a|no dtype"},
    /* 7 */
    {"{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,4]", 0, 4) "}", 4, "tensor a|8 dimensions"},
    {"{\"a\":" T("U8", "[-4]", 0, 4) "}", 4, "tensor a|-4"},
    {"{\"a\":" T("U8", "[4.5]", 0, 4) "}", 4, "tensor a|4.5"},
    {"{\"a\":" T("U8", "[4.0]", 0, 4) "}", 4, "tensor a|4.0"},
    {"{\"a\":" T("U8", "[\"4\"]", 0, 4) "}", 4, "tensor a|expected an integer"},
    {"{\"a\":" T("U8", "[0, 1099511627777]", 0, 0) "}", 0, "tensor a|1099511627777"},
    {"{\"a\":" T("U8", "[0, 99999999999999999999]", 0, 0) "}", 0, "tensor a|99999999999999999999"},
    {"{\"a\":" T("U8", "[4294967296, 4294967296]", 0, 0) "}", 0, "tensor a|4294967296"},
    {"{\"a\":" T("F64", "[1099511627776, 524288]", 0, 0) "}", 0, "tensor a|larger"},
    {"{\"a\":" T("U8", "4", 0, 4) "}", 4, "tensor a|shape is 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}", 4, "tensor a|no shape"},
    {"{\"a\":" T("F4", "[3]", 0, 1) "}", 1, "tensor a|inside a byte"},
    /* 8 */
    {"{\"a\":" T("U8", "[4]", 4, 0) "}", 4, "tensor a|reversed"},
    {"{\"a\":" T("U8", "[5]", 0, 5) "}", 4, "tensor a|5|4 bytes"},
    {"{\"a\":" T("U8", "[4]", -1, 3) "}", 4, "tensor a|-1"},
    {"{\"a\":" T("U8", "[0]", 18446744073709551615, 18446744073709551615) "}", 0, "tensor a|18446744073709551615"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, "tensor a|no data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}}", 4, "tensor a|data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,4]}}", 4, "tensor a|data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":null}}", 4, "tensor a|data_offsets is null"},
    /* 9 */
    {"{\"a\":" T("BF16", "[2]", 0, 5) "}", 5, "tensor a|[2] of BF16 takes 4 bytes|give 5"},
    /* 10 */
    {"{\"b\":" T("U8", "[4]", 4, 8) "}", 8, "4 bytes|the header|b (begins at 4)"},
    {"{\"b\":" T("U8", "[4]", 6, 10) ",\"a\":" T("U8", "[4]", 0, 4) "}", 10, "2 bytes|a (ends at 4)|b (begins at 6)"},
    {"{\"b\":" T("U8", "[4]", 3, 7) ",\"a\":" T("U8", "[4]", 0, 4) "}", 7, "a (ends at 4)|b (begins at 3)|overlap"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"e\":" T("U8", "[0]", 2, 2) "}", 4, "overlap"},
    {"{\"a\":" T("U8", "[4]", 0, 4) "}", 6, "2 bytes after the last tensor a"},
    {"{}", 1, "1 bytes after"},
    /* 11 */
    {"{\"__metadata__\":{\"format\":1}}", 0, "__metadata__|format|a number"},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "__metadata__|an object"},
    {"{\"__metadata__\":\"mlx\"}", 0, "__metadata__|a string"},
    {"{\"__metadata__\":null}", 0, "__metadata__|null"},
};

static void refuses_what_breaks_a_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        tensor_index index;
        leat_error error = {0};
        tensor_index_init(&index, ledger);
        assert_int_equal(parse("{\"kept\":" T("U8", "[4]", 0, 4) "}", 4, &index, NULL), LEAT_OK);
        leat_status status = parse(broken[i].header, broken[i].data_bytes, &index, &error);
        if (status != LEAT_MODEL) fail_msg("accepted or misjudged (%d): %s", status, broken[i].header);
        if (!mentions_all(error.text, "m.safetensors") || !mentions_all(error.text, broken[i].words))
            fail_msg("for %s: %s", broken[i].header, error.text);
        assert_int_equal(index.count, 1); /* nothing of the refused shard stays */
        tensor_index_reset(&index);
    }
}

static void limits_names(void **state)
{
    (void)state;
    for (int length = TENSOR_NAME_BYTES_MAX; length <= TENSOR_NAME_BYTES_MAX + 1; length++) {
        char name[600], header[800];
        memset(name, 'x', sizeof name);
        snprintf(header, sizeof header, "{\"%.*s\":" T("U8", "[4]", 0, 4) "}", length, name);
        tensor_index index;
        leat_error error = {0};
        tensor_index_init(&index, ledger);
        assert_int_equal(parse(header, 4, &index, &error), length <= TENSOR_NAME_BYTES_MAX ? LEAT_OK : LEAT_MODEL);
        if (length > TENSOR_NAME_BYTES_MAX) {
            assert_true(mentions_all(error.text, "m.safetensors|513|512"));
            assert_true(strlen(error.text) < 200);
        }
        tensor_index_reset(&index);
    }
}

static void checks_the_headers_length(void **state)
{
    (void)state;
    static const struct {
        uint64_t file_bytes, header_bytes;
        bool is_good;
    } cases[] = {
        {0, 2, false},
        {9, 2, false},
        {10, 2, true},
        {10, 3, false},
        {10, 1, false},
        {10, 0, false},
        {1000, 992, true},
        {1000, 993, false},
        {10, UINT64_MAX, false},
        {10, UINT64_MAX - 7, false},
        {UINT64_MAX, 100000000, true},
        {UINT64_MAX, 100000001, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t first[8];
        uint64_t header_bytes = 77;
        leat_error error = {0};
        store_le64(first, cases[i].header_bytes);
        leat_status status =
            safetensors_header_bytes("m.safetensors", cases[i].file_bytes, first, &header_bytes, &error);
        assert_int_equal(status, cases[i].is_good ? LEAT_OK : LEAT_MODEL);
        assert_int_equal(header_bytes, cases[i].is_good ? cases[i].header_bytes : 77);
        if (!cases[i].is_good) assert_non_null(strstr(error.text, "m.safetensors"));
    }
}

/* A cut-off download is what a user meets most often: the hint says so. */
static void hints_at_unfinished_downloads(void **state)
{
    (void)state;
    tensor_index index;
    leat_error error = {0};
    tensor_index_init(&index, ledger);
    assert_int_equal(parse("{\"a\":" T("U8", "[5]", 0, 5) "}", 4, &index, &error), LEAT_MODEL);
    assert_non_null(strstr(error.hint, "download"));
    tensor_index_reset(&index);
}

static void survives_the_end_of_memory(void **state)
{
    (void)state;
    leat_status status = LEAT_NO_MEMORY;
    for (uint64_t nth = 1; status != LEAT_OK; nth++) {
        tensor_index index;
        tensor_index_init(&index, ledger);
        mem_fail_nth(ledger, nth);
        status = parse("{\"a\":" T("U8", "[4]", 0, 4) ",\"__metadata__\":{\"format\":\"pt\"}}", 4, &index, NULL);
        mem_fail_nth(ledger, 0);
        assert_true(status == LEAT_OK || status == LEAT_NO_MEMORY);
        assert_int_equal(index.count, status == LEAT_OK);
        tensor_index_reset(&index);
        assert_true(nth < 100);
    }
}

/* ---- the damaged checkpoints of the conformance data ---- */

static const struct {
    const char *folder, *words, *forbidden;
} damaged[] = {
    {"container-empty", "", NULL},
    {"container-nine-bytes", "", NULL},
    {"header-length-past-end", "1000000", NULL},
    {"header-length-over-limit", "100000001", NULL},
    {"header-length-wraps", "", NULL},
    {"header-truncated", "", NULL},
    {"header-leading-space", "", NULL},
    {"header-padded-with-nul", "", NULL},
    {"header-not-json", "", NULL},
    {"header-bad-utf8", "", NULL},
    {"header-deep", "", NULL},
    {"header-duplicate-name", "language_model.model.norm.weight", NULL},
    {"header-name-too-long", "512",
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
    {"header-control-byte", "", "\x1b"},
    {"dtype-unknown", "language_model.model.norm.weight|F7", NULL},
    {"shape-rank-9", "language_model.model.norm.weight", NULL},
    {"shape-negative", "language_model.model.norm.weight|-32", NULL},
    {"shape-fraction", "language_model.model.norm.weight", NULL},
    {"shape-product-wraps", "language_model.model.norm.weight", NULL},
    {"offsets-reversed", "language_model.model.norm.weight", NULL},
    {"offset-past-end", "", NULL},
    {"size-mismatch", "language_model.model.norm.weight", NULL},
    {"extents-overlap", "", NULL},
    {"extents-hole", "", NULL},
    {"extents-trailer", "", NULL},
    {"data-truncated", "", NULL},
    {"metadata-not-string", "__metadata__", NULL},
};

static leat_status read_shard(const char *folder, tensor_index *index, leat_error *error)
{
    char below[256];
    uint64_t bytes, header_bytes = 0;
    snprintf(below, sizeof below, "bad/%s/model.safetensors", folder);
    char *file = conformance_load(below, &bytes);
    assert_non_null(file);
    leat_status status =
        safetensors_header_bytes("model.safetensors", bytes, (const uint8_t *)file, &header_bytes, error);
    if (status == LEAT_OK)
        status = safetensors_parse(ledger, "model.safetensors", 0, bytes, file + 8, header_bytes, index, error);
    free(file);
    return status;
}

static void judges_the_damaged_checkpoints(void **state)
{
    (void)state;
    if (!conformance_has("bad/good/model.safetensors")) skip();
    tensor_index index;
    leat_error error = {0};
    tensor_index_init(&index, ledger);
    assert_int_equal(read_shard("good", &index, &error), LEAT_OK);
    assert_int_equal(index.count, 46);
    tensor_index_reset(&index);
    for (size_t i = 0; i < ARRAY_COUNT(damaged); i++) {
        error = (leat_error){0};
        tensor_index_init(&index, ledger);
        assert_int_equal(read_shard(damaged[i].folder, &index, &error), LEAT_MODEL);
        printf("[  NOTE    ] %s: %s\n", damaged[i].folder, error.text);
        assert_true(mentions_all(error.text, "model.safetensors"));
        assert_true(mentions_all(error.text, damaged[i].words));
        if (damaged[i].forbidden != NULL) assert_null(strstr(error.text, damaged[i].forbidden));
        for (const char *at = error.text; *at != '\0'; at++) assert_true((unsigned char)*at >= 0x20);
        tensor_index_reset(&index);
    }
}

/* Nothing that transformers or mlx wrote may be refused. */
static void reads_every_published_layout(void **state)
{
    (void)state;
    static const char *const patterns[] = {"models/*/*.safetensors", "mlx/*/*.safetensors"};
    char pattern[4096];
    if (!conformance_has("models") || !conformance_has("mlx")) skip();
    for (size_t p = 0; p < ARRAY_COUNT(patterns); p++) {
        glob_t found;
        assert_int_equal(glob(conformance_path(patterns[p], pattern), 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            tensor_index index;
            uint64_t bytes = 0, header_bytes = 0;
            leat_error error = {0};
            char *file = load_file(found.gl_pathv[i], &bytes);
            assert_non_null(file);
            tensor_index_init(&index, ledger);
            leat_status status = safetensors_header_bytes("shard", bytes, (const uint8_t *)file, &header_bytes, &error);
            if (status == LEAT_OK)
                status = safetensors_parse(ledger, "shard", 0, bytes, file + 8, header_bytes, &index, &error);
            if (status != LEAT_OK) fail_msg("%s: %s", found.gl_pathv[i], error.text);
            assert_true(index.count > 0);
            tensor_index_reset(&index);
            free(file);
        }
        globfree(&found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_good_header),
        cmocka_unit_test(orders_empty_tensors),
        cmocka_unit_test(reads_an_empty_shard),
        cmocka_unit_test(refuses_what_breaks_a_rule),
        cmocka_unit_test(limits_names),
        cmocka_unit_test(checks_the_headers_length),
        cmocka_unit_test(hints_at_unfinished_downloads),
        cmocka_unit_test(survives_the_end_of_memory),
        cmocka_unit_test(judges_the_damaged_checkpoints),
        cmocka_unit_test(reads_every_published_layout),
    };
    return cmocka_run_group_tests(tests, open_ledger, close_ledger);
}
