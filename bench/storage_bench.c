/*
 * storage_bench.c - what the storage seam costs: reads of one size at one depth through its threads and through
 * io_uring, beside a plain loop of O_DIRECT preads with as many threads, in one interleaved run, so that all meet the
 * same disk in the same mood.
 *
 *     storage_bench FILE [SIZES [DEPTHS [BYTES [READERS]]]]
 *     e.g. storage_bench big.bin 256K,1M,4M 1,2,4,8 512M
 *
 * All read the same blocks, in the same random order, at most once each in a round. BYTES is what one round reads (at
 * most the file). Printed are medians of five rounds, with the CPU time of the process for each GB, and the rates of
 * threads / plain and uring / threads. A file that fits a host's cache measures that cache.
 *
 * `threads` has DEPTH readers and as many reads again that wait for one; `uring` has DEPTH reads under way. With
 * READERS both have DEPTH reads submitted, and `threads` has so many readers, as in the engine (4 at depth 64).
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
#include <sys/resource.h>
#include <unistd.h>

enum { ROUND_COUNT = 5, LIST_MAX = 16, DEPTH_MAX = 64, BUFFER_ALIGN = 65536 };

typedef struct job {
    const char *path;
    uint64_t bytes;               /* of a block */
    uint32_t depth, reader_count; /* reader_count 0: depth */
    uint64_t *block_offsets;      /* (block_count), in random order */
    uint32_t block_count;
    uint8_t *buffers; /* (2 * depth, bytes) */
    file f;           /* opened directly */
} job;

static void die(const char *what, const char *text)
{
    fprintf(stderr, "storage_bench: %s: %s\n", what, text);
    exit(1);
}

typedef struct figures {
    double rate;       /* bytes per ns = GB/s */
    double cpu_per_gb; /* seconds */
} figures;

typedef struct start {
    uint64_t wall_ns;
    double cpu_s;
} start;

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static start start_now(void) { return (start){clock_now_ns(), cpu_seconds()}; }

static figures figures_since(const job *j, start begin)
{
    double bytes = (double)j->bytes * j->block_count;
    return (figures){bytes / (double)(clock_now_ns() - begin.wall_ns), (cpu_seconds() - begin.cpu_s) / bytes * 1e9};
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

static figures measure_plain(const job *j)
{
    plain_reader readers[DEPTH_MAX];
    start begin = start_now();
    for (uint32_t i = 0; i < j->depth; i++) {
        readers[i] = (plain_reader){.j = j, .reader_idx = i};
        if (pthread_create(&readers[i].thread, NULL, read_plainly, &readers[i]) != 0) die("thread", "cannot start");
    }
    for (uint32_t i = 0; i < j->depth; i++) pthread_join(readers[i].thread, NULL);
    return figures_since(j, begin);
}

/* ---- the seam ---- */

static figures measure_storage(const job *j, storage_kind kind)
{
    leat_error error;
    mem *ledger = NULL;
    storage *s = NULL;
    file_set files = {&j->f, &j->path, 1};
    uint32_t reader_count = j->reader_count ? j->reader_count : j->depth;
    uint32_t flying = kind == STORAGE_THREADS && !j->reader_count ? 2 * j->depth : j->depth;
    if (mem_open(0, &ledger, &error) != LEAT_OK) die("ledger", error.text);
    if (storage_open(kind, ledger, &files, reader_count, flying, &s, &error) != LEAT_OK) die("storage", error.text);
    if (s->ops->kind != kind) die("storage", "the system has no io_uring");
    uint32_t submitted_count = 0;
    read_result result;
    start begin = start_now(); /* an engine opens its storage once */
    for (; submitted_count < flying && submitted_count < j->block_count; submitted_count++)
        s->ops->submit(s, &(read_request){.what = {0, j->block_offsets[submitted_count], j->bytes},
                                          .buffer = j->buffers + submitted_count * j->bytes,
                                          .tag = submitted_count});
    while (s->ops->reap(s, 0, UINT64_MAX, &result)) {
        if (result.status != LEAT_OK) die("read", result.error.text);
        if (submitted_count == j->block_count) continue;
        /* The tag is the buffer. */
        s->ops->submit(s, &(read_request){.what = {0, j->block_offsets[submitted_count++], j->bytes},
                                          .buffer = j->buffers + result.tag * j->bytes,
                                          .tag = result.tag});
    }
    figures found = figures_since(j, begin);
    s->ops->close(&s);
    mem_close(&ledger);
    return found;
}

/* ---- rounds ---- */

enum { WAY_PLAIN, WAY_THREADS, WAY_URING, WAY_COUNT };

static figures measure(const job *j, int way)
{
    return way == WAY_PLAIN ? measure_plain(j) : measure_storage(j, way == WAY_URING ? STORAGE_URING : STORAGE_THREADS);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUND_COUNT, sizeof *values, compare_doubles);
    return values[ROUND_COUNT / 2];
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

static void run_job(job *j, uint64_t round_bytes, int way_count)
{
    double rates[WAY_COUNT][ROUND_COUNT], cpu_times[WAY_COUNT][ROUND_COUNT], rate[WAY_COUNT] = {0};
    prng dice;
    prng_init(&dice, j->bytes + j->depth);
    draw_blocks(j, round_bytes, &dice);
    measure_plain(j); /* not counted: the host's caches, if any, are then the same for all */
    for (int round = 0; round < ROUND_COUNT; round++)
        for (int turn = 0; turn < way_count; turn++) {
            int way = (turn + round) % way_count;
            figures found = measure(j, way);
            rates[way][round] = found.rate;
            cpu_times[way][round] = found.cpu_per_gb;
        }
    printf("%8llu %5u", (unsigned long long)j->bytes, j->depth);
    for (int way = 0; way < way_count; way++) {
        rate[way] = median(rates[way]);
        printf("  %6.3f (%5.3f..%5.3f) %5.3f", rate[way], rates[way][0], rates[way][ROUND_COUNT - 1],
               median(cpu_times[way]));
    }
    printf("  %5.3f", rate[WAY_THREADS] / rate[WAY_PLAIN]);
    if (way_count == WAY_COUNT) printf("  %5.3f", rate[WAY_URING] / rate[WAY_THREADS]);
    printf("\n");
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
    uint64_t sizes[LIST_MAX], depths[LIST_MAX], round_bytes[LIST_MAX], reader_counts[LIST_MAX] = {0};
    if (argc < 2 || argc > 6) die("usage", "storage_bench FILE [SIZES [DEPTHS [BYTES [READERS]]]]");
    uint32_t size_count = parse_list(argc > 2 ? argv[2] : "256K,1M,4M", 1u << 30, sizes);
    uint32_t depth_count = parse_list(argc > 3 ? argv[3] : "1,2,4,8", DEPTH_MAX, depths);
    parse_list(argc > 4 ? argv[4] : "512M", 1ull << 40, round_bytes);
    if (argc > 5) parse_list(argv[5], DEPTH_MAX, reader_counts);

    leat_error error;
    job j = {.path = argv[1], .reader_count = (uint32_t)reader_counts[0]};
    if (file_open(AT_FDCWD, argv[1], false, FILE_DIRECT, &j.f, &error) != LEAT_OK) die(argv[1], error.text);
    int way_count = storage_uring_is_usable(DEPTH_MAX) ? WAY_COUNT : WAY_URING;
    printf("# GB/s: median (least..most) of %d interleaved rounds, then CPU seconds per GB; O_DIRECT, offset alignment "
           "%u\n",
           ROUND_COUNT, j.f.offset_align);
    printf("#  bytes depth  plain                        threads                      %s  thr/pl%s\n",
           way_count == WAY_COUNT ? "uring                      " : "(no io_uring here)",
           way_count == WAY_COUNT ? "  ur/thr" : "");
    for (uint32_t s = 0; s < size_count; s++)
        for (uint32_t d = 0; d < depth_count; d++) {
            j.bytes = round_up(sizes[s], j.f.offset_align);
            j.depth = (uint32_t)depths[d];
            run_job(&j, round_bytes[0], way_count);
        }
    file_close(&j.f);
    return 0;
}
