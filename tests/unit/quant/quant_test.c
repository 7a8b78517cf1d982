/*
 * quant_test.c - stored weights against numbers worked out elsewhere: by hand, and by mlx (tests/golden/mlx_vectors).
 */
#include "quant/quant.h"

#include "base/bytes.h"
#include "mlx_vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* With scale 1 and offset 0 the decoded values are the codes. */
static void assert_codes(quant_type type, const char *bytes, const float *codes, uint64_t count)
{
    uint8_t data[32] = {0}, scales[4], offsets[4] = {0};
    float one = 1, decoded[32];
    memcpy(data, bytes, strlen(bytes));
    memcpy(scales, &one, 4);
    matrix m = {.shape = {.type = type, .scale_type = FLOAT_F32, .group = 32, .rows = 1, .cols = 32},
                .data = data,
                .scales = scales,
                .offsets = offsets};
    quant_decode(&m, 0, 0, count, decoded);
    for (uint64_t i = 0; i < count; i++) assert_true(decoded[i] == codes[i]);
}

static void codes_are_a_little_endian_bit_stream(void **state)
{
    (void)state;
    assert_codes(QUANT_AFFINE1, "\x0d", (float[]){1, 0, 1, 1, 0, 0, 0, 0}, 8);
    assert_codes(QUANT_AFFINE2, "\xe4", (float[]){0, 1, 2, 3}, 4);
    assert_codes(QUANT_AFFINE3, "\x88\xc6\xfa", (float[]){0, 1, 2, 3, 4, 5, 6, 7}, 8);
    assert_codes(QUANT_AFFINE4, "\x21\x43\x65\x87", (float[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    assert_codes(QUANT_AFFINE5, "\x20\x88\xc1\xbb\xff", (float[]){0, 1, 2, 3, 28, 29, 30, 31}, 8);
    assert_codes(QUANT_AFFINE6, "\x81\xe0\xff", (float[]){1, 2, 62, 63}, 4);
    assert_codes(QUANT_AFFINE8, "\x01\xfe\x80", (float[]){1, 254, 128}, 3);
}

static void small_floats_mean_what_their_formats_say(void **state)
{
    (void)state;
    assert_true(quant_e4m3_to_f32(0x01) == 0x1p-9f);
    assert_true(quant_e4m3_to_f32(0x08) == 0x1p-6f);
    assert_true(quant_e4m3_to_f32(0x38) == 1 && quant_e4m3_to_f32(0x40) == 2 && quant_e4m3_to_f32(0x7e) == 448);
    assert_true(quant_e4m3_to_f32(0xb8) == -1);
    assert_int_equal(bits_of(quant_e4m3_to_f32(0x80)), 0x80000000);
    assert_true(isnan(quant_e4m3_to_f32(0x7f)) && isnan(quant_e4m3_to_f32(0xff)));
    assert_true(quant_e8m0_to_f32(127) == 1 && quant_e8m0_to_f32(0) == 0x1p-127f && quant_e8m0_to_f32(254) == 0x1p127f);
    assert_true(quant_e8m0_to_f32(255) == INFINITY);
    static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    for (uint8_t code = 0; code < 16; code++) assert_int_equal(bits_of(quant_e2m1_to_f32(code)), bits_of(e2m1[code]));
    assert_true(quant_bf16_to_f32(0x3fc0) == 1.5f && quant_f16_to_f32(0x3e00) == 1.5f);
    assert_true(quant_f16_to_f32(0x0001) == 0x1p-24f && quant_f16_to_f32(0x83ff) == -1023 * 0x1p-24f);
    assert_true(quant_f16_to_f32(0x7bff) == 65504 && quant_f16_to_f32(0xfc00) == -INFINITY &&
                isnan(quant_f16_to_f32(0x7c01)));
}

static void narrowing_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = quant_f16_to_f32((uint16_t)bits), brain = quant_bf16_to_f32((uint16_t)bits);
        if (!isnan(half)) assert_int_equal(quant_f32_to_f16(half), bits);
        if (!isnan(brain)) assert_int_equal(quant_f32_to_bf16(brain), bits);
        /* Half way to the next number the even one wins, a little above it the next one. */
        if ((bits & 0x7fff) < 0x7bff) {
            float middle = (half + quant_f16_to_f32((uint16_t)(bits + 1))) / 2;
            assert_int_equal(quant_f32_to_f16(middle), bits + (bits & 1));
            assert_int_equal(quant_f32_to_f16(nextafterf(middle, bits & 0x8000 ? -INFINITY : INFINITY)), bits + 1);
            assert_int_equal(quant_f32_to_f16(nextafterf(middle, 0)), bits);
        }
        uint32_t wide = bits << 16 | 0x8000;
        float between;
        memcpy(&between, &wide, 4);
        if (!isnan(between)) assert_int_equal(quant_f32_to_bf16(between), bits + (bits & 1));
    }
    assert_int_equal(quant_f32_to_f16(65519), 0x7bff);
    assert_int_equal(quant_f32_to_f16(65520), 0x7c00);
    assert_int_equal(quant_f32_to_f16(-1e30f), 0xfc00);
    assert_true(isnan(quant_f16_to_f32(quant_f32_to_f16(NAN))) && isnan(quant_bf16_to_f32(quant_f32_to_bf16(NAN))));
}

static void assert_encoded(const float *values, uint32_t bits, float scale, float offset, const int *codes)
{
    uint8_t data[32], scales[4], offsets[4];
    float decoded[32];
    quant_encode_affine(values, 32, bits, 32, FLOAT_F32, data, scales, offsets);
    assert_true(fabsf(load_f32(scales) - scale) <= 1e-6f * fabsf(scale) && load_f32(offsets) == offset);
    float one = 1, zero = 0;
    memcpy(scales, &one, 4);
    memcpy(offsets, &zero, 4);
    matrix m = {.shape = {.type = bits == 1 ? QUANT_AFFINE1 : QUANT_AFFINE4,
                          .scale_type = FLOAT_F32,
                          .group = 32,
                          .rows = 1,
                          .cols = 32},
                .data = data,
                .scales = scales,
                .offsets = offsets};
    quant_decode(&m, 0, 0, 32, decoded);
    for (int i = 0; i < 32; i++) assert_int_equal((int)decoded[i], codes[i]);
}

static void encoder_chooses_as_mlx_does(void **state)
{
    (void)state;
    float ramp[32], fan[32], constant[32];
    int ramp_codes[32], zero_codes[32] = {0}, ramp_bits[32];
    static const int fan_codes[32] = {8,  8, 9,  7, 9,  6, 10, 6, 10, 6, 11, 5, 11, 4, 12, 4,
                                      12, 4, 13, 3, 13, 2, 14, 2, 14, 2, 15, 1, 15, 0, 15, 0};
    for (int i = 0; i < 32; i++) {
        ramp[i] = (float)i / 31;
        ramp_codes[i] = (int)rint((1 - (double)i / 31) * 15);
        ramp_bits[i] = i > 15;
        fan[i] = (i % 2 ? -1.0f : 1.0f) * (float)(i + 1) / 32;
        constant[i] = 0.75f;
    }
    assert_encoded(ramp, 4, -0.0666667f, 1.0f, ramp_codes);
    assert_encoded(fan, 4, 0.125f, -1.0f, fan_codes);
    assert_encoded(constant, 4, -1e-7f, 0.75f, zero_codes);
    assert_encoded(constant, 1, 1e-7f, 0.75f, zero_codes);
    assert_encoded(ramp, 1, 1.0f, 0.0f, ramp_bits);
}

static void any_range_of_columns_decodes_alike(void **state)
{
    (void)state;
    uint8_t data[64 * 6 / 8 * 2], scales[8], offsets[8];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 + 11);
    for (size_t i = 0; i < sizeof scales; i++)
        scales[i] = (uint8_t)(i % 2 ? 0x3f : i), offsets[i] = (uint8_t)(i % 2 ? 0x40 : i);
    matrix m = {.shape = {.type = QUANT_AFFINE6, .scale_type = FLOAT_BF16, .group = 32, .rows = 2, .cols = 64},
                .data = data,
                .scales = scales,
                .offsets = offsets};
    float whole[64], part[64];
    quant_decode(&m, 1, 0, 64, whole);
    for (uint64_t begin = 0; begin < 64; begin++)
        for (uint64_t end = begin; end <= 64; end++) {
            quant_decode(&m, 1, begin, end, part);
            assert_memory_equal(part, whole + begin, (end - begin) * 4);
        }
}

static void compare_with_mlx(const mlx_vector *vector, void *context)
{
    (void)context;
    uint64_t cols = vector->weights.shape.cols;
    float *row = malloc(cols * sizeof *row);
    assert_non_null(row);
    for (uint64_t r = 0; r < vector->weights.shape.rows; r++) {
        quant_decode(&vector->weights, r, 0, cols, row);
        for (uint64_t k = 0; k < cols; k++) {
            float expected = load_f32(vector->dequantized + (r * cols + k) * 4);
            if (bits_of(row[k]) == bits_of(expected)) continue;
            fail_msg("%s, matrix %llu, row %llu, column %llu: expected %a, found %a", vector->name,
                     (unsigned long long)vector->stack_idx, (unsigned long long)r, (unsigned long long)k,
                     (double)expected, (double)row[k]);
        }
    }
    free(row);
}

static void decoding_equals_mlx_bit_for_bit(void **state)
{
    (void)state;
    printf("%d matrices of mlx compared\n", mlx_vectors_each(compare_with_mlx, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_a_little_endian_bit_stream),
        cmocka_unit_test(small_floats_mean_what_their_formats_say),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(encoder_chooses_as_mlx_does),
        cmocka_unit_test(any_range_of_columns_decodes_alike),
        cmocka_unit_test(decoding_equals_mlx_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
