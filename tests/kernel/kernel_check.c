/*
 * kernel_check.c - every kernel of every usable instruction set against the scalar definition, bit for bit (a NaN
 * equals any NaN).
 *
 * Inputs are chosen to hurt: every tail length, every code, NaN, infinities, zeros of both signs, subnormal, huge and
 * negative numbers, unaligned arrays. Arrays lie against an unreadable page, now at their end, now at their beginning,
 * so one byte outside is a crash; outputs are compared with everything around them.
 *
 * Exit status: 0, 1 on a difference, 77 when the machine has nothing above scalar (a skip, not a pass).
 */
#include "kernel/kernel.h"

#include "base/bytes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- random numbers (splitmix64) ---- */

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t random_below(uint64_t bound) { return next_random() % bound; }
static float random_between(float low, float high)
{
    return low + (high - low) * (float)(next_random() >> 40) * 0x1p-24f;
}

/* ---- arrays against unreadable pages ---- */

enum { GUARDED_BYTES = 1 << 20, CANARY = 0xa5 };

typedef struct guarded {
    uint8_t *begin; /* GUARDED_BYTES between two unreadable pages */
} guarded;

static void *map_guarded(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *base = mmap(NULL, GUARDED_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, GUARDED_BYTES, PROT_READ | PROT_WRITE)) {
        perror("guard pages");
        exit(1);
    }
    return base + page;
}

enum { WEIGHTS, SCALES, OFFSETS, X, W, EXPECTED, FOUND, ARRAY_KINDS };
static guarded arrays[ARRAY_KINDS];

/* An array of `bytes`: its end at the upper guard page, or its beginning at, or `unit` * 1..15 bytes above, the lower
 * one. */
static void *place(int kind, size_t bytes, size_t unit, uint64_t where)
{
    if (bytes + 16 * unit > GUARDED_BYTES) {
        fprintf(stderr, "kernel_check: an array of %zu bytes does not fit\n", bytes);
        exit(1);
    }
    uint8_t *begin = arrays[kind].begin;
    return where % 2 ? begin + GUARDED_BYTES - bytes : begin + where / 2 % 16 * unit;
}

/* EXPECTED and FOUND at the same place, both full of canaries. */
static void place_outputs(size_t count, uint64_t where, float **expected, float **found)
{
    *expected = place(EXPECTED, count * sizeof(float), sizeof(float), where);
    *found = place(FOUND, count * sizeof(float), sizeof(float), where);
    size_t window = count * sizeof(float) + 256; /* what a stray write could reach */
    memset(where % 2 ? arrays[EXPECTED].begin + GUARDED_BYTES - window : arrays[EXPECTED].begin, CANARY, window);
    memset(where % 2 ? arrays[FOUND].begin + GUARDED_BYTES - window : arrays[FOUND].begin, CANARY, window);
}

/* ---- hostile numbers ---- */

typedef enum style {
    PLAIN,
    WIDE,
    ONE_SPECIAL,
    ANY_BITS,
    ZEROS_AND_SUBNORMALS,
    SMALL_RANGE,
    VANISHING,
    STYLE_COUNT
} style;

static float special_float(void)
{
    static const float specials[] = {0.0f,
                                     -0.0f,
                                     INFINITY,
                                     -INFINITY,
                                     NAN,
                                     0x1p-149f,
                                     -0x1p-149f,
                                     0x1.fffffep+127f,
                                     -0x1.fffffep+127f,
                                     0x1p-126f,
                                     -0x1p-126f,
                                     0x1.fffffcp-127f,
                                     1.0f,
                                     -1.0f,
                                     88.7228f,
                                     -103.97f,
                                     0x1p63f};
    return specials[random_below(ARRAY_COUNT(specials))];
}

static float random_float(style how)
{
    switch (how) {
    case WIDE: return random_between(-1, 1) * ldexpf(1, (int)random_below(200) - 100);
    case ANY_BITS: return float_of_bits((uint32_t)next_random());
    case ZEROS_AND_SUBNORMALS:
        return float_of_bits((uint32_t)next_random() & (random_below(2) ? 0x800fffff : 0x80000000));
    case SMALL_RANGE: return random_between(-12, 12);
    case VANISHING: return 0x1p-149f;
    default: return random_between(-1, 1);
    }
}

static void fill_floats(float *values, size_t count, style how)
{
    for (size_t i = 0; i < count; i++) values[i] = random_float(how);
    if (how == ONE_SPECIAL && count) values[random_below(count)] = special_float();
}

static void fill_stored_floats(float_type type, uint8_t *bytes, size_t count, style how)
{
    size_t special = count ? random_below(count) : 0;
    for (size_t i = 0; i < count; i++) {
        float value = how == ONE_SPECIAL && i == special ? special_float() : random_float(how);
        if (how == VANISHING) value = random_between(-0.25f, -0.125f);
        if (how == ANY_BITS) {
            uint32_t bits = (uint32_t)next_random();
            memcpy(bytes + i * float_type_bytes(type), &bits, float_type_bytes(type));
        } else if (type == FLOAT_F32) {
            memcpy(bytes + i * 4, &value, 4);
        } else {
            uint16_t half = type == FLOAT_F16 ? quant_f32_to_f16(value) : quant_f32_to_bf16(value);
            memcpy(bytes + i * 2, &half, 2);
        }
    }
}

/* ---- comparing ---- */

static uint64_t comparison_count, difference_count;
static const char *current_isa;

static void compare(const char *kernel, const char *details, const float *expected, const float *found, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        comparison_count++;
        if (memcmp(expected + i, found + i, sizeof *expected) == 0) continue;
        if (expected[i] != expected[i] && found[i] != found[i]) continue;
        if (difference_count++ < 20)
            printf("%s %s, %s: value %zu of %zu is %a, expected %a\n", current_isa, kernel, details, i, count,
                   (double)found[i], (double)expected[i]);
    }
}

/* Everything around the outputs, which must be untouched, is the same in both. */
static void compare_surroundings(const char *kernel, const char *details, const float *expected, size_t count)
{
    const uint8_t *begin = (const uint8_t *)expected, *end = (const uint8_t *)(expected + count);
    const uint8_t *array = arrays[EXPECTED].begin;
    size_t before = min_u64((uint64_t)(begin - array), 128),
           after = min_u64((uint64_t)(array + GUARDED_BYTES - end), 128);
    ptrdiff_t to_found = arrays[FOUND].begin - array;
    if (memcmp(begin - before, begin - before + to_found, before) == 0 && memcmp(end, end + to_found, after) == 0)
        return;
    if (difference_count++ < 20) printf("%s %s, %s: wrote outside its output\n", current_isa, kernel, details);
}

/* ---- matrix products ---- */

typedef struct matmul_case {
    quant_type type;
    float_type scale_type;
    uint32_t group;
    bool has_global_scale;
    uint64_t rows, cols, row_begin, row_end;
    uint32_t token_count;
    size_t x_gap, y_gap; /* strides beyond cols and rows */
    style x_style, weight_style;
} matmul_case;

static matrix make_matrix(const matmul_case *c)
{
    matrix m = {.shape = {.type = c->type,
                          .scale_type = c->scale_type,
                          .group = c->group,
                          .has_global_scale = c->has_global_scale,
                          .rows = c->rows,
                          .cols = c->cols}};
    const quant_traits *traits = &quant_traits_table[c->type];
    size_t data_bytes = c->rows * quant_data_row_bytes(&m.shape),
           scale_bytes = c->rows * quant_scale_row_bytes(&m.shape);
    uint8_t *data = place(WEIGHTS, data_bytes, 1, next_random());
    m.data = data;
    if (traits->scales == SCALES_NONE) {
        float_type type = c->type == QUANT_F32 ? FLOAT_F32 : c->type == QUANT_F16 ? FLOAT_F16 : FLOAT_BF16;
        fill_stored_floats(type, data, c->rows * c->cols, c->weight_style);
        return m;
    }
    for (size_t i = 0; i < data_bytes; i++) data[i] = (uint8_t)next_random();
    uint8_t *scales = place(SCALES, scale_bytes, 1, next_random());
    m.scales = scales;
    if (traits->scales == SCALES_FLOAT) {
        uint8_t *offsets = place(OFFSETS, scale_bytes, 1, next_random());
        m.offsets = offsets;
        size_t count = c->rows * c->cols / c->group;
        fill_stored_floats(c->scale_type, scales, count, c->weight_style);
        fill_stored_floats(c->scale_type, offsets, count, random_below(2) ? c->weight_style : PLAIN);
    } else {
        for (size_t i = 0; i < scale_bytes; i++)
            scales[i] = c->weight_style == ANY_BITS || traits->scales == SCALES_E4M3 ? (uint8_t)next_random()
                        : c->weight_style == ZEROS_AND_SUBNORMALS                    ? (uint8_t)random_below(2)
                                                                  : (uint8_t)(117 + random_below(20));
    }
    m.global_scale = c->has_global_scale ? random_float(c->weight_style == PLAIN ? SMALL_RANGE : c->weight_style) : NAN;
    return m;
}

static void check_matmul(const kernel_table *scalar, const kernel_table *fast, const matmul_case *c)
{
    char details[200];
    snprintf(details, sizeof details, "group %u, scales %d%s, %llu x %llu, rows %llu..%llu, %u tokens, styles %d %d",
             c->group, (int)c->scale_type, c->has_global_scale ? " global" : "", (unsigned long long)c->rows,
             (unsigned long long)c->cols, (unsigned long long)c->row_begin, (unsigned long long)c->row_end,
             c->token_count, (int)c->x_style, (int)c->weight_style);
    matrix m = make_matrix(c);
    size_t x_stride = c->cols + c->x_gap, y_stride = c->rows + c->y_gap;
    size_t x_count = (c->token_count - 1) * x_stride + c->cols, y_count = (c->token_count - 1) * y_stride + c->rows;
    float *x = place(X, x_count * sizeof *x, sizeof *x, next_random()), *expected, *found;
    fill_floats(x, x_count, c->x_style);
    place_outputs(y_count, next_random(), &expected, &found);
    scalar->matmul[c->type](&m, c->row_begin, c->row_end, x, x_stride, c->token_count, expected, y_stride);
    fast->matmul[c->type](&m, c->row_begin, c->row_end, x, x_stride, c->token_count, found, y_stride);
    compare(quant_traits_table[c->type].label, details, expected, found, y_count);
    compare_surroundings(quant_traits_table[c->type].label, details, expected, y_count);
}

static matmul_case random_case(quant_type type)
{
    const quant_traits *traits = &quant_traits_table[type];
    matmul_case c = {.type = type};
    c.scale_type = (float_type)random_below(3);
    c.group = traits->scales == SCALES_NONE ? 0 : traits->fixed_group ? traits->fixed_group : 32u << random_below(3);
    c.has_global_scale = traits->scales == SCALES_E4M3 && random_below(2);
    c.rows = 1 + random_below(9);
    c.cols = c.group ? c.group * (1 + random_below(6)) : 1 + random_below(100);
    c.row_begin = random_below(3) ? 0 : random_below(c.rows);
    c.row_end = random_below(3) ? c.rows : c.row_begin + random_below(c.rows - c.row_begin + 1);
    c.token_count = random_below(2) ? 1 : 1 + (uint32_t)random_below(9);
    c.x_gap = random_below(4);
    c.y_gap = random_below(4);
    c.x_style = (style)random_below(STYLE_COUNT);
    c.weight_style = (style)random_below(STYLE_COUNT);
    /* Every product rounds to -0, and so does the sum, unless a lane that has no column is given a +0. */
    if (c.x_style == VANISHING) c.weight_style = VANISHING;
    return c;
}

static void check_matmuls(const kernel_table *scalar, const kernel_table *fast, quant_type type)
{
    uint32_t unit = quant_traits_table[type].scales == SCALES_NONE ? 1 : 0;
    /* Every tail of the columns, with one token and with several. */
    for (uint64_t steps = 1; steps <= 80; steps++)
        for (uint32_t tokens = 1; tokens <= 2; tokens++) {
            matmul_case c = random_case(type);
            c.cols = steps * (unit ? unit : c.group);
            c.rows = 1 + steps % 5;
            c.row_begin = 0, c.row_end = c.rows;
            c.token_count = tokens;
            check_matmul(scalar, fast, &c);
        }
    /* Every remainder of rows and tokens, and batches beyond one tile. */
    for (uint64_t rows = 1; rows <= 9; rows++)
        for (uint32_t tokens = 1; tokens <= 11; tokens++) {
            matmul_case c = random_case(type);
            c.rows = rows, c.row_begin = 0, c.row_end = rows;
            c.token_count = tokens <= 9 ? tokens : tokens == 10 ? 25 : 33;
            check_matmul(scalar, fast, &c);
        }
    /* Rows longer than a stretch, in many parts. */
    for (int i = 0; i < 24; i++) {
        matmul_case c = random_case(type);
        c.cols = unit ? 1000 + random_below(1200) : c.group * (1024 / c.group - 1 + random_below(1200 / c.group));
        if (i % 2) c.token_count = 1;
        check_matmul(scalar, fast, &c);
    }
    for (int i = 0; i < 1500; i++) {
        matmul_case c = random_case(type);
        check_matmul(scalar, fast, &c);
    }
}

/* ---- operations on vectors ---- */

typedef struct vectors {
    size_t n;
    style how;
    char details[100];
    float *x, *w;            /* inputs, (n) */
    float *expected, *found; /* in and out, (n), equal */
} vectors;

static vectors make_vectors(size_t n, style how)
{
    vectors v = {.n = n, .how = how};
    snprintf(v.details, sizeof v.details, "n %zu, style %d", n, (int)how);
    v.x = place(X, n * sizeof(float), sizeof(float), next_random());
    v.w = place(W, n * sizeof(float), sizeof(float), next_random());
    fill_floats(v.x, n, how);
    fill_floats(v.w, n, random_below(2) ? PLAIN : how);
    place_outputs(n, next_random(), &v.expected, &v.found);
    fill_floats(v.expected, n, how);
    memcpy(v.found, v.expected, n * sizeof(float));
    return v;
}

static void compare_vectors(const char *kernel, const vectors *v)
{
    compare(kernel, v->details, v->expected, v->found, v->n);
    compare_surroundings(kernel, v->details, v->expected, v->n);
}

static void check_elementwise(const kernel_table *scalar, const kernel_table *fast, size_t n, style how)
{
    float a = random_below(4) ? random_between(-3, 3) : special_float(),
          b = random_below(4) ? random_between(-3, 3) : special_float();
    float cap = random_below(4) ? 30.0f : a;
    vectors v;
#define IN_PLACE(name, ...)                                                                                            \
    v = make_vectors(n, how);                                                                                          \
    scalar->name(v.expected, __VA_ARGS__);                                                                             \
    fast->name(v.found, __VA_ARGS__);                                                                                  \
    compare_vectors(#name, &v);
    IN_PLACE(blend_f32, a, v.x, b, n)
    IN_PLACE(add_f32, v.x, n)
    IN_PLACE(add_scaled_f32, v.x, a, n)
    IN_PLACE(mul_f32, v.x, n)
    IN_PLACE(scale_f32, a, n)
    IN_PLACE(softcap_f32, cap, n)
#undef IN_PLACE
#define GATED(name)                                                                                                    \
    v = make_vectors(n, how);                                                                                          \
    scalar->name(v.x, v.w, v.expected, n);                                                                             \
    fast->name(v.x, v.w, v.found, n);                                                                                  \
    compare_vectors(#name, &v);                                                                                        \
    v = make_vectors(n, how);                                                                                          \
    scalar->name(v.expected, v.w, v.expected, n);                                                                      \
    fast->name(v.found, v.w, v.found, n);                                                                              \
    compare_vectors(#name " in place", &v);
    GATED(gelu_mul_f32)
    GATED(silu_mul_f32)
#undef GATED
}

static void check_rms_norm(const kernel_table *scalar, const kernel_table *fast, size_t n, style how)
{
    for (int form = 0; form < 4; form++) {
        vectors v = make_vectors(n, how);
        const float *w = form & 1 ? v.w : NULL;
        scalar->rms_norm_f32(form & 2 ? v.expected : v.x, w, 1e-6f, v.expected, n);
        fast->rms_norm_f32(form & 2 ? v.found : v.x, w, 1e-6f, v.found, n);
        compare_vectors(form & 2 ? "rms_norm_f32 in place" : "rms_norm_f32", &v);
    }
}

static void check_rope(const kernel_table *scalar, const kernel_table *fast, size_t pair_count, style how)
{
    size_t half = pair_count + random_below(20);
    vectors v = make_vectors(2 * half, how);
    v.n = half + pair_count; /* nothing behind the last pair is touched, and it is compared as surroundings */
    float *cosines = place(X, pair_count * sizeof(float), sizeof(float), next_random());
    float *sines = place(W, pair_count * sizeof(float), sizeof(float), next_random());
    fill_floats(cosines, pair_count, PLAIN);
    fill_floats(sines, pair_count, how);
    scalar->rope_half_f32(v.expected, cosines, sines, pair_count, half);
    fast->rope_half_f32(v.found, cosines, sines, pair_count, half);
    compare_vectors("rope_half_f32", &v);
}

static void check_max_and_sum(const kernel_table *scalar, const kernel_table *fast, size_t n, style how)
{
    if (n == 0) return;
    vectors v = make_vectors(n, how);
    float expected = scalar->max_f32(v.x, n), found = fast->max_f32(v.x, n);
    compare("max_f32", v.details, &expected, &found, 1);
    float max = random_below(4) ? expected : special_float();
    expected = scalar->exp_sum_f32(v.expected, max, n);
    found = fast->exp_sum_f32(v.found, max, n);
    compare("exp_sum_f32's sum", v.details, &expected, &found, 1);
    compare_vectors("exp_sum_f32", &v);
}

static void check_weighted_rows(const kernel_table *scalar, const kernel_table *fast, size_t n, style how)
{
    size_t count = random_below(8), stride = n + random_below(5);
    vectors v = make_vectors(n, how);
    size_t rows_count = count ? (count - 1) * stride + n : 0;
    float *rows = place(X, rows_count * sizeof(float), sizeof(float), next_random());
    float *weights = place(W, count * sizeof(float), sizeof(float), next_random());
    fill_floats(rows, rows_count, how);
    fill_floats(weights, count, random_below(2) ? PLAIN : how);
    scalar->weighted_rows_f32(rows, stride, weights, count, v.expected, n);
    fast->weighted_rows_f32(rows, stride, weights, count, v.found, n);
    compare_vectors("weighted_rows_f32", &v);
}

static void check_vectors(const kernel_table *scalar, const kernel_table *fast)
{
    static const size_t longer[] = {127, 128, 129, 255, 300, 1000, 1024, 4097};
    for (size_t i = 0; i <= 80 + ARRAY_COUNT(longer); i++)
        for (style how = 0; how < STYLE_COUNT; how++)
            for (int again = 0; again < 8; again++) {
                size_t n = i <= 80 ? i : longer[i - 81];
                check_elementwise(scalar, fast, n, how);
                if (n) check_rms_norm(scalar, fast, n, how);
                check_rope(scalar, fast, n, how);
                check_max_and_sum(scalar, fast, n, how);
                check_weighted_rows(scalar, fast, n, how);
            }
}

/* The float functions on a dense sweep of all floats, where a wrong constant or a wrong branch would hide. */
static void check_functions(const kernel_table *scalar, const kernel_table *fast)
{
    enum { CHUNK = 4096 };
    const uint32_t step = 1499; /* odd, so every exponent and many mantissas come by */
    for (uint64_t bits = 0; bits < 1ull << 32; bits += (uint64_t)step * CHUNK) {
        vectors v = make_vectors(CHUNK, PLAIN);
        for (uint64_t i = 0; i < CHUNK; i++)
            v.expected[i] = v.x[i] = float_of_bits((uint32_t)(bits + i * step)), v.w[i] = 1;
        memcpy(v.found, v.expected, CHUNK * sizeof(float));
        snprintf(v.details, sizeof v.details, "bits %08llx + i * %u", (unsigned long long)bits, step);
        scalar->exp_sum_f32(v.expected, 0, CHUNK);
        fast->exp_sum_f32(v.found, 0, CHUNK);
        compare_vectors("exp", &v);
        scalar->gelu_mul_f32(v.x, v.w, v.expected, CHUNK);
        fast->gelu_mul_f32(v.x, v.w, v.found, CHUNK);
        compare_vectors("gelu", &v);
        scalar->silu_mul_f32(v.x, v.w, v.expected, CHUNK);
        fast->silu_mul_f32(v.x, v.w, v.found, CHUNK);
        compare_vectors("silu", &v);
        memcpy(v.expected, v.x, CHUNK * sizeof(float));
        memcpy(v.found, v.x, CHUNK * sizeof(float));
        scalar->softcap_f32(v.expected, 1, CHUNK);
        fast->softcap_f32(v.found, 1, CHUNK);
        compare_vectors("tanh", &v);
    }
}

/* Slots for which an instruction set has no version of its own would compare scalar with itself. */
static int count_own_slots(const kernel_table *scalar, const kernel_table *fast)
{
    int own = 0, all = 0;
#define MATMUL(type, label)             own += fast->matmul[QUANT_##type] != scalar->matmul[QUANT_##type], all++;
#define KERNEL(name, result, arguments) own += fast->name != scalar->name, all++;
#include "kernel/kernels.inc"
#undef KERNEL
#undef MATMUL
    if (own < all) printf("%s: %d of %d slots still hold the scalar version\n", current_isa, all - own, all);
    return own;
}

int main(int argc, char **argv)
{
    isa only = ISA_SCALAR; /* all of them */
    random_state = 20;
    for (int i = 1; i < argc; i += 2) {
        bool has_value = i + 1 < argc;
        if (has_value && strcmp(argv[i], "--isa") == 0 && isa_from_label(argv[i + 1], &only)) continue;
        if (has_value && strcmp(argv[i], "--seed") == 0) {
            random_state = strtoull(argv[i + 1], NULL, 0);
            continue;
        }
        fprintf(stderr, "usage: kernel_check [--isa avx2|avx512] [--seed N]\n");
        return 2;
    }
#ifdef KERNEL_CHECK_UNAVAILABLE
    printf("SKIPPED: " KERNEL_CHECK_UNAVAILABLE "\n");
    return 77;
#endif
    for (int kind = 0; kind < ARRAY_KINDS; kind++) arrays[kind].begin = map_guarded();
    kernel_table scalar, fast;
    kernel_init(&scalar, ISA_SCALAR);
    int isa_count = 0;
    for (isa level = ISA_SCALAR + 1; level < ISA_COUNT; level++) {
        if (!kernel_isa_is_usable(level) || (only != ISA_SCALAR && level != only)) continue;
        isa_count++;
        kernel_init(&fast, level);
        current_isa = isa_label(level);
        comparison_count = 0;
        count_own_slots(&scalar, &fast);
        for (quant_type type = 0; type < QUANT_TYPE_COUNT; type++) check_matmuls(&scalar, &fast, type);
        check_vectors(&scalar, &fast);
        check_functions(&scalar, &fast);
        printf("%s: %llu values compared with scalar\n", current_isa, (unsigned long long)comparison_count);
    }
    if (difference_count) printf("%llu differences\n", (unsigned long long)difference_count);
    if (isa_count == 0)
        printf("SKIPPED: this machine runs none of the instruction sets asked for, so nothing was compared\n");
    return difference_count ? 1 : isa_count ? 0 : 77;
}
