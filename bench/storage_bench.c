/*
 * storage_bench.c - what the storage seam costs: reads of one size at one depth through storage_threads beside a plain
 * loop of O_DIRECT preads with as many threads, in one interleaved run, so that both meet the same disk in the same
 * mood.
 *
 *     storage_bench FILE [SIZES [DEPTHS [BYTES]]]      e.g. storage_bench big.bin 256K,1M,4M 1,2,4,8 512M
 *
 * Both read the same blocks, in the same random order, at most once each in a round. BYTES is what one round reads (at
 * most the file). Printed are medians of five rounds; the ratio is storage / plain. A file that fits a host's cache
 * measures that cache.
 */
#include "io/storage.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROUND_COUNT = 5, LIST_MAX = 16, DEPTH_MAX = 64, BUFFER_ALIGN = 65536 };

typedef struct job {
    const char *path;
    uint64_t bytes; /* of a block */
    uint32_t depth;
    uint64_t *block_offsets; /* (block_count), in random order */
    uint32_t block_count;
    uint8_t *buffers; /* (2 * depth, bytes) */
    file f;           /* opened directly */
} job;

static void die(const char *what, const char *text)
{
    fprintf(stderr, "storage_bench: %s: %s\n", what, text);
    exit(1);
}

static double rate_of(const job *j, uint64_t begin_ns)
{
    return (double)j->bytes * j->block_count / (double)(clock_now_ns() - begin_ns); /* bytes per ns = GB/s */
}

/* ---- the plain loop ---- */

typedef struct plain_reader {
    const job *j;
    uint32_t reader_idx;
    pthread_t thread;
} plain_reader;

static void *read_plainly(void *context)
{
    const plain_reader *r = context;
    const job *j = r->j;
    uint32_t buffer_idx = r->reader_idx; /* alternates between two buffers, so that both sides touch the same memory */
    for (uint32_t i = r->reader_idx; i < j->block_count;
         i += j->depth, buffer_idx = (buffer_idx + j->depth) % (2 * j->depth))
        if (pread(j->f.fd, j->buffers + buffer_idx * j->bytes, j->bytes, (off_t)j->block_offsets[i]) !=
            (ssize_t)j->bytes)
            die(j->path, "a plain pread failed or was cut short");
    return NULL;
}

static double measure_plain(const job *j)
{
    plain_reader readers[DEPTH_MAX];
    uint64_t begin_ns = clock_now_ns();
    for (uint32_t i = 0; i < j->depth; i++) {
        readers[i] = (plain_reader){.j = j, .reader_idx = i};
        if (pthread_create(&readers[i].thread, NULL, read_plainly, &readers[i]) != 0) die("thread", "cannot start");
    }
    for (uint32_t i = 0; i < j->depth; i++) pthread_join(readers[i].thread, NULL);
    return rate_of(j, begin_ns);
}

/* ---- the seam: as many reader threads, and as many reads again waiting for them ---- */

static double measure_storage(const job *j)
{
    leat_error error;
    mem *ledger = NULL;
    storage *s = NULL;
    file_set files = {&j->f, &j->path, 1};
    if (mem_open(0, &ledger, &error) != LEAT_OK) die("ledger", error.text);
    if (storage_threads_open(ledger, &files, j->depth, 2 * j->depth, &s, &error) != LEAT_OK) die("storage", error.text);
    uint32_t submitted_count = 0;
    read_result result;
    uint64_t begin_ns = clock_now_ns(); /* an engine opens its storage once */
    for (; submitted_count < 2 * j->depth && submitted_count < j->block_count; submitted_count++)
        s->ops->submit(s, &(read_request){{0, j->block_offsets[submitted_count], j->bytes},
                                          j->buffers + submitted_count * j->bytes,
                                          submitted_count});
    while (s->ops->reap(s, 0, UINT64_MAX, &result)) {
        if (result.status != LEAT_OK) die("read", result.error.text);
        if (submitted_count == j->block_count) continue;
        /* The tag is the buffer. */
        s->ops->submit(s, &(read_request){{0, j->block_offsets[submitted_count++], j->bytes},
                                          j->buffers + result.tag * j->bytes,
                                          result.tag});
    }
    double rate = rate_of(j, begin_ns);
    s->ops->close(&s);
    mem_close(&ledger);
    return rate;
}

/* ---- rounds ---- */

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *rates)
{
    qsort(rates, ROUND_COUNT, sizeof *rates, compare_rates);
    return rates[ROUND_COUNT / 2];
}

static void draw_blocks(job *j, uint64_t round_bytes, prng *dice)
{
    uint64_t block_count = j->f.bytes / j->bytes, wanted_count = max_u64(1, round_bytes / j->bytes);
    if (block_count == 0) die(j->path, "the file is shorter than one block");
    j->block_offsets = malloc(block_count * sizeof *j->block_offsets);
    j->buffers = aligned_alloc(BUFFER_ALIGN, round_up(2 * j->depth * j->bytes, BUFFER_ALIGN));
    if (j->block_offsets == NULL || j->buffers == NULL) die("memory", "there is none");
    memset(j->buffers, 0, 2 * j->depth * j->bytes); /* fault the pages in before the clock runs */
    for (uint64_t i = 0; i < block_count; i++) {
        uint64_t k = prng_below(dice, i + 1);
        j->block_offsets[i] = j->block_offsets[k];
        j->block_offsets[k] = i * j->bytes;
    }
    j->block_count = (uint32_t)min_u64(min_u64(block_count, wanted_count), UINT32_MAX);
}

static void run_job(job *j, uint64_t round_bytes)
{
    double plain_rates[ROUND_COUNT], storage_rates[ROUND_COUNT];
    prng dice;
    prng_init(&dice, j->bytes + j->depth);
    draw_blocks(j, round_bytes, &dice);
    measure_plain(j); /* not counted: the host's caches, if any, are then the same for both */
    for (int round = 0; round < ROUND_COUNT; round++) {
        if (round % 2 == 0) plain_rates[round] = measure_plain(j);
        storage_rates[round] = measure_storage(j);
        if (round % 2 == 1) plain_rates[round] = measure_plain(j);
    }
    double plain_rate = median(plain_rates), storage_rate = median(storage_rates);
    printf("%10llu %6u %8u %10.3f (%5.3f..%5.3f) %10.3f (%5.3f..%5.3f) %8.3f\n", (unsigned long long)j->bytes, j->depth,
           j->block_count, plain_rate, plain_rates[0], plain_rates[ROUND_COUNT - 1], storage_rate, storage_rates[0],
           storage_rates[ROUND_COUNT - 1], storage_rate / plain_rate);
    fflush(stdout);
    free(j->block_offsets);
    free(j->buffers);
}

/* "256K,1M" */
static uint32_t parse_list(const char *text, uint64_t value_max, uint64_t *out_values)
{
    uint32_t count = 0;
    for (const char *at = text; count < LIST_MAX; at++) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(at, &end, 10);
        if (end == at || errno != 0 || value > value_max) die(text, "not a list of sizes");
        uint32_t shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        if (shift > 0) end++;
        if (value == 0 || value > value_max >> shift || (*end != 0 && *end != ',')) die(text, "not a list of sizes");
        out_values[count++] = (uint64_t)value << shift;
        if (*end == 0) return count;
        at = end;
    }
    die(text, "too many values");
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t sizes[LIST_MAX], depths[LIST_MAX], round_bytes[LIST_MAX];
    if (argc < 2 || argc > 5) die("usage", "storage_bench FILE [SIZES [DEPTHS [BYTES]]]");
    uint32_t size_count = parse_list(argc > 2 ? argv[2] : "256K,1M,4M", 1u << 30, sizes);
    uint32_t depth_count = parse_list(argc > 3 ? argv[3] : "1,2,4,8", DEPTH_MAX, depths);
    parse_list(argc > 4 ? argv[4] : "512M", 1ull << 40, round_bytes);

    leat_error error;
    job j = {.path = argv[1]};
    if (file_open(AT_FDCWD, argv[1], false, FILE_DIRECT, &j.f, &error) != LEAT_OK) die(argv[1], error.text);
    printf("# GB/s: median (least..most) of %d interleaved rounds; O_DIRECT, offset alignment %u\n", ROUND_COUNT,
           j.f.offset_align);
    printf("#    bytes  depth   blocks      plain                     storage                    ratio\n");
    for (uint32_t s = 0; s < size_count; s++)
        for (uint32_t d = 0; d < depth_count; d++) {
            j.bytes = round_up(sizes[s], j.f.offset_align);
            j.depth = (uint32_t)depths[d];
            run_job(&j, round_bytes[0]);
        }
    file_close(&j.f);
    return 0;
}
