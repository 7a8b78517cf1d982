/*
 * kernel_bench.c - how fast the matrix products run, and against what.
 *
 * For each shape and number of threads, in rounds that take turns so that all see the same machine:
 *
 *   bandwidth   a plain vector sum over the same memory by the same threads: what the machine gives to reads
 *   RAM         products with enough different matrices to exceed the last cache four times
 *   in cache    products with a matrix per thread that stays in the second-level cache
 *
 * The figures are medians. A product cannot be faster than both its memory and its arithmetic, so the bar is RAM >= 0.7
 * * min(bandwidth, in cache). Nothing is asserted. The core's clock comes from a chain of dependent additions, one per
 * cycle.
 *
 * Usage: kernel_bench [--type affine4] [--group 64] [--scales bf16|f16|f32] [--isa avx2] [--tokens 1] [--threads 4]
 * [--shape 2816x2816]
 *                     [--rounds 7]          --type, --shape and --threads may be given several times
 */
#include "kernel/kernel.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, LIST_MAX = 16, ROUNDS_MAX = 99 };

typedef struct options {
    quant_type types[LIST_MAX];
    int type_count;
    uint64_t shapes[LIST_MAX][2]; /* rows, cols */
    int shape_count;
    int threads[LIST_MAX], threads_count;
    uint32_t group;
    float_type scale_type;
    isa level;
    uint32_t token_count;
    int round_count;
} options;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *get_memory(size_t bytes)
{
    void *block = NULL;
    if (posix_memalign(&block, 4096, round_up(bytes + 64, 4096))) {
        fprintf(stderr, "kernel_bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return block;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

/* ---- the machine ---- */

static double measure_clock_hz(void)
{
    double best = 0;
    for (int round = 0; round < 3; round++) {
        uint64_t sum = 0;
        const uint64_t steps = 20 * 1000 * 1000;
        double begin = now_seconds();
        for (uint64_t i = 0; i < steps / 10; i++) {
#if defined(__x86_64__)
            __asm__ volatile("add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n"
                             "add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0"
                             : "+r"(sum));
#else
            for (int k = 0; k < 10; k++) __asm__ volatile("add %0, %0, #1" : "+r"(sum));
#endif
        }
        double rate = (double)steps / (now_seconds() - begin);
        if (rate > best) best = rate;
    }
    return best;
}

/* Eight sums of 16 bytes each: wide enough for the memory, and plain C. */
static uint64_t sum_memory(const uint8_t *begin, size_t bytes)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair sums[8] = {{0}};
    for (size_t i = 0; i + 128 <= bytes; i += 128)
        for (int k = 0; k < 8; k++) {
            pair value;
            memcpy(&value, begin + i + k * 16, sizeof value);
            sums[k] += value;
        }
    uint64_t total = 0;
    for (int k = 0; k < 8; k++) total += sums[k][0] + sums[k][1];
    return total;
}

/* ---- the matrices ---- */

typedef struct pool {
    uint8_t *bytes;
    size_t matrix_bytes, count;
    matrix_shape shape;
} pool;

static size_t bytes_of_matrix(const matrix_shape *shape)
{
    return shape->rows * (quant_data_row_bytes(shape) + 2 * quant_scale_row_bytes(shape));
}

static matrix matrix_at(const pool *p, size_t idx)
{
    uint8_t *base = p->bytes + idx * p->matrix_bytes;
    size_t data_bytes = p->shape.rows * quant_data_row_bytes(&p->shape),
           scale_bytes = p->shape.rows * quant_scale_row_bytes(&p->shape);
    return (matrix){
        .shape = p->shape, .data = base, .scales = base + data_bytes, .offsets = base + data_bytes + scale_bytes};
}

/* Random codes; scales near 1 in every form, so that nothing is subnormal. */
static pool make_pool(const matrix_shape *shape, size_t bytes_min)
{
    pool p = {.shape = *shape, .matrix_bytes = round_up(bytes_of_matrix(shape), 64)};
    p.count = bytes_min / p.matrix_bytes + 1;
    p.bytes = get_memory(p.count * p.matrix_bytes);
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= p.count * p.matrix_bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        store_le64(p.bytes + i, (state ^ state >> 33) & 0xbfffbfffbfffbfff); /* no infinite half floats */
    }
    for (size_t m = 0; m < p.count; m++) {
        uint8_t *scales = (uint8_t *)(uintptr_t)matrix_at(&p, m).scales;
        size_t scale_bytes = 2 * shape->rows * quant_scale_row_bytes(shape);
        for (size_t i = 0; i < scale_bytes; i++)
            scales[i] = quant_traits_table[shape->type].scales == SCALES_FLOAT ? (i & 1 ? 0x3c : 0x11) : 0x70;
    }
    return p;
}

/* ---- passes: the same work on every thread at once ---- */

typedef enum pass_kind { PASS_STOP, PASS_READ, PASS_RAM, PASS_CACHE } pass_kind;

typedef struct bench {
    const options *opts;
    kernel_table kernels;
    int thread_count;
    pool ram, cache[THREADS_MAX];
    float *x, *y[THREADS_MAX];
    pass_kind kind;
    int cache_repeats;
    uint64_t sink[THREADS_MAX];
    pthread_barrier_t start, end;
} bench;

typedef struct worker {
    bench *b;
    int idx;
    pthread_t thread;
} worker;

static void run_part(bench *b, int idx)
{
    const pool *ram = &b->ram;
    uint64_t cols = ram->shape.cols;
    switch (b->kind) {
    case PASS_STOP: return;
    case PASS_READ: {
        /* As the products do: every thread a part of each matrix. */
        size_t part = ram->matrix_bytes / (size_t)b->thread_count;
        for (size_t m = 0; m < ram->count; m++)
            b->sink[idx] += sum_memory(ram->bytes + m * ram->matrix_bytes + (size_t)idx * part, part);
        return;
    }
    case PASS_RAM:
        for (size_t m = 0; m < ram->count; m++) {
            matrix w = matrix_at(ram, m);
            uint64_t begin = w.shape.rows * (uint64_t)idx / (uint64_t)b->thread_count;
            uint64_t end = w.shape.rows * ((uint64_t)idx + 1) / (uint64_t)b->thread_count;
            b->kernels.matmul[w.shape.type](&w, begin, end, b->x, cols, b->opts->token_count, b->y[idx], w.shape.rows);
        }
        return;
    case PASS_CACHE: {
        matrix w = matrix_at(&b->cache[idx], 0);
        for (int i = 0; i < b->cache_repeats; i++)
            b->kernels.matmul[w.shape.type](&w, 0, w.shape.rows, b->x, cols, b->opts->token_count, b->y[idx],
                                            w.shape.rows);
        return;
    }
    }
}

static void *worker_main(void *argument)
{
    worker *w = argument;
    for (;;) {
        pthread_barrier_wait(&w->b->start);
        if (w->b->kind == PASS_STOP) return NULL;
        run_part(w->b, w->idx);
        pthread_barrier_wait(&w->b->end);
    }
}

static double time_pass(bench *b, pass_kind kind)
{
    b->kind = kind;
    pthread_barrier_wait(&b->start);
    if (kind == PASS_STOP) return 0;
    double begin = now_seconds();
    run_part(b, 0);
    pthread_barrier_wait(&b->end);
    return now_seconds() - begin;
}

static void measure(const options *opts, quant_type type, const uint64_t shape[2], int thread_count, double clock_hz)
{
    static bench b;
    memset(&b, 0, sizeof b);
    b.opts = opts;
    b.thread_count = thread_count;
    kernel_init(&b.kernels, opts->level);
    const quant_traits *traits = &quant_traits_table[type];
    matrix_shape full = {.type = type, .scale_type = opts->scale_type, .rows = shape[0], .cols = shape[1]};
    full.group = traits->scales == SCALES_NONE ? 0 : traits->fixed_group ? traits->fixed_group : opts->group;
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    b.ram = make_pool(&full, 4 * (size_t)(l3 > 0 ? l3 : 32 << 20));
    /* In cache: about 96 KB of weights for each thread, a multiple of four rows. */
    matrix_shape small = full;
    small.rows = 1;
    small.rows = max_u64(4, 98304 / bytes_of_matrix(&small) / 4 * 4);
    size_t x_count = opts->token_count * full.cols;
    b.x = get_memory(x_count * sizeof *b.x);
    for (size_t i = 0; i < x_count; i++) b.x[i] = (float)(i * 2654435761u % 2001) / 1000 - 1;
    for (int t = 0; t < thread_count; t++) {
        b.cache[t] = make_pool(&small, 0);
        b.y[t] = get_memory(opts->token_count * full.rows * sizeof **b.y);
    }
    pthread_barrier_init(&b.start, NULL, (unsigned)thread_count);
    pthread_barrier_init(&b.end, NULL, (unsigned)thread_count);
    worker workers[THREADS_MAX];
    for (int t = 1; t < thread_count; t++) {
        workers[t] = (worker){.b = &b, .idx = t};
        if (pthread_create(&workers[t].thread, NULL, worker_main, &workers[t])) {
            fprintf(stderr, "kernel_bench: cannot start a thread\n");
            exit(1);
        }
    }

    b.cache_repeats = 1;
    while (time_pass(&b, PASS_CACHE) < 0.02) b.cache_repeats *= 2;
    double read[ROUNDS_MAX], ram[ROUNDS_MAX], cache[ROUNDS_MAX];
    for (int round = -1; round < opts->round_count; round++) { /* the first warms up */
        int at = round < 0 ? 0 : round;
        read[at] = time_pass(&b, PASS_READ);
        ram[at] = time_pass(&b, PASS_RAM);
        cache[at] = time_pass(&b, PASS_CACHE);
    }
    time_pass(&b, PASS_STOP);
    for (int t = 1; t < thread_count; t++) pthread_join(workers[t].thread, NULL);

    double weight_bytes = (double)full.rows * (double)(quant_data_row_bytes(&full) +
                                                       (traits->has_offsets ? 2 : 1) * quant_scale_row_bytes(&full));
    double bytes_per_weight = weight_bytes / (double)full.rows / (double)full.cols;
    double small_weights = (double)small.rows * (double)small.cols * (double)b.cache_repeats * thread_count;
    double read_rate = (double)b.ram.count * (double)b.ram.matrix_bytes / median(read, opts->round_count);
    double ram_rate = (double)b.ram.count * weight_bytes / median(ram, opts->round_count);
    double cache_weights = small_weights / median(cache, opts->round_count);
    double cache_rate = cache_weights * bytes_per_weight;
    double bound = read_rate < cache_rate ? read_rate : cache_rate;
    printf("%-8s %-7s %5llu x %-5llu %7d %6u %9.2f %9.2f %9.2f %8.2f %8.2f %6.2f%s\n", traits->label,
           isa_label(opts->level), (unsigned long long)full.rows, (unsigned long long)full.cols, thread_count,
           opts->token_count, read_rate / 1e9, ram_rate / 1e9, cache_rate / 1e9,
           cache_weights / thread_count / clock_hz, cache_weights * opts->token_count / thread_count / clock_hz,
           ram_rate / bound, ram_rate / bound < 0.7 ? " below 0.7" : "");
    fflush(stdout);
    free(b.ram.bytes);
    free(b.x);
    for (int t = 0; t < thread_count; t++) {
        free(b.cache[t].bytes);
        free(b.y[t]);
    }
    pthread_barrier_destroy(&b.start);
    pthread_barrier_destroy(&b.end);
}

/* ---- options ---- */

static bool parse_type(const char *text, quant_type *out)
{
    for (quant_type type = 0; type < QUANT_TYPE_COUNT; type++)
        if (strcmp(text, quant_traits_table[type].label) == 0) return *out = type, true;
    return false;
}

static bool parse_option(options *opts, const char *name, const char *value)
{
    if (strcmp(name, "--type") == 0) {
        if (strcmp(value, "all") == 0) {
            for (quant_type type = 0; type < QUANT_TYPE_COUNT; type++) opts->types[opts->type_count++] = type;
            return true;
        }
        return opts->type_count < LIST_MAX && parse_type(value, &opts->types[opts->type_count++]);
    }
    if (strcmp(name, "--shape") == 0) {
        if (opts->shape_count == LIST_MAX) return false;
        unsigned long long rows, cols;
        if (sscanf(value, "%llux%llu", &rows, &cols) != 2 || rows == 0 || cols == 0) return false;
        opts->shapes[opts->shape_count][0] = rows;
        opts->shapes[opts->shape_count++][1] = cols;
        return true;
    }
    if (strcmp(name, "--isa") == 0) return isa_from_label(value, &opts->level) && kernel_isa_is_usable(opts->level);
    if (strcmp(name, "--scales") == 0) {
        opts->scale_type = strcmp(value, "f32") == 0 ? FLOAT_F32 : strcmp(value, "f16") == 0 ? FLOAT_F16 : FLOAT_BF16;
        return true;
    }
    int number = atoi(value);
    if (number < 1) return false;
    if (strcmp(name, "--threads") == 0)
        return opts->threads_count < LIST_MAX && number <= THREADS_MAX &&
               (opts->threads[opts->threads_count++] = number, true);
    if (strcmp(name, "--group") == 0)
        return opts->group = (uint32_t)number, number == 32 || number == 64 || number == 128;
    if (strcmp(name, "--tokens") == 0) return opts->token_count = (uint32_t)number, true;
    if (strcmp(name, "--rounds") == 0) return opts->round_count = number, number >= 5 && number <= ROUNDS_MAX;
    return false;
}

int main(int argc, char **argv)
{
    options opts = {
        .group = 64, .scale_type = FLOAT_BF16, .level = kernel_isa_best(), .token_count = 1, .round_count = 7};
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !parse_option(&opts, argv[i], argv[i + 1])) {
            fprintf(stderr, "kernel_bench: bad option %s (see the head of bench/kernel_bench.c)\n", argv[i]);
            return 2;
        }
    if (opts.type_count == 0) opts.types[opts.type_count++] = QUANT_AFFINE4;
    if (opts.shape_count == 0) {
        static const uint64_t shapes[][2] = {{2816, 2816}, {4096, 2816}, {2816, 8192}, {8192, 2816}};
        memcpy(opts.shapes, shapes, sizeof shapes);
        opts.shape_count = ARRAY_COUNT(shapes);
    }
    if (opts.threads_count == 0) {
        long all = sysconf(_SC_NPROCESSORS_ONLN);
        opts.threads[opts.threads_count++] = 1;
        if (all > 1) opts.threads[opts.threads_count++] = all < THREADS_MAX ? (int)all : THREADS_MAX;
    }
    double clock_hz = measure_clock_hz();
    printf("core clock %.2f GHz; GB/s of stored weights; w/cycle: weights decoded, and products, per core cycle in "
           "cache\n",
           clock_hz / 1e9);
    printf("type     isa          shape     threads tokens bandwidth       RAM  in cache  w/cycle  products  ratio\n");
    for (int type = 0; type < opts.type_count; type++)
        for (int shape = 0; shape < opts.shape_count; shape++)
            for (int t = 0; t < opts.threads_count; t++)
                measure(&opts, opts.types[type], opts.shapes[shape], opts.threads[t], clock_hz);
    return 0;
}
