/*
 * sweep_bench.c - would it pay to read neighbouring experts of a layer with one read? All records of a model's first
 * layers, in the order of the file, as a prompt's sweep over all experts reads them: each record on its own (parts that
 * follow each other in the file as one read, as the expert cache does), beside groups of neighbours, of which each part
 * is one read.
 *
 *     sweep_bench MODEL [LAYERS [GROUPS]]        e.g. sweep_bench model 2 1,4,32
 *
 * A group is read into one piece of memory. That is more than a cache could do, whose slots lie apart, so the figures
 * are an upper bound of what merging gives. Printed are medians of seven interleaved rounds: GB/s, reads, and CPU
 * seconds of the process for each GB; then the rate beside the first group size's. A model that fits a host's cache
 * measures that cache.
 */
#include "base/arena.h"
#include "base/bytes.h"
#include "exec/checkpoint.h"
#include "exec/expert_records.h"
#include "model/model_build.h"
#include "os/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ROUND_COUNT = 7, LIST_MAX = 8, QUEUE_DEPTH = 128, WINDOW_RECORDS = 32, READS_MAX = 64 };

typedef struct sweep {
    file_set files;
    const expert_records *records;
    uint32_t layer_count;
    uint64_t record_bytes; /* room for one record, with all its windows */
    uint8_t *buffers;      /* (WINDOW_RECORDS, record_bytes) */
} sweep;

typedef struct figures {
    double rate, cpu_per_gb;
    uint64_t read_count;
} figures;

static void die(const char *what, const leat_error *error)
{
    fprintf(stderr, "sweep_bench: %s: %s\n", what, error ? error->text : "wrong");
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* The reads of experts [begin, begin + count) of a layer. */
static uint32_t list_reads(const sweep *s, uint32_t nth, uint32_t begin, uint32_t count, extent out[READS_MAX])
{
    const expert_record *first = &s->records->records[nth * s->records->expert_count + begin];
    uint32_t read_count = 0;

    for (uint32_t part = 0; part < first->part_count; part++)
        for (uint32_t e = 0; e < count; e++) {
            const extent *next = &first[e].parts[part];
            extent *last = read_count > 0 ? &out[read_count - 1] : NULL;
            if (next->bytes == 0) continue;
            if (last && last->file_idx == next->file_idx && last->offset + last->bytes == next->offset) {
                last->bytes += next->bytes;
                continue;
            }
            if (read_count == READS_MAX) die("neighbours are not side by side in this model", NULL);
            out[read_count++] = *next;
        }
    return read_count;
}

/* A packed record's parts follow each other, and so do records: part by part they would be cut into pieces. */
static uint32_t list_packed_reads(const sweep *s, uint32_t nth, uint32_t begin, uint32_t count, extent out[READS_MAX])
{
    uint32_t read_count = 0;

    for (uint32_t e = 0; e < count; e++) {
        extent own[READS_MAX];
        const uint32_t own_count = list_reads(s, nth, begin + e, 1, own);
        for (uint32_t i = 0; i < own_count; i++) {
            extent *last = read_count > 0 ? &out[read_count - 1] : NULL;
            if (last && last->file_idx == own[i].file_idx && own[i].offset - last->offset - last->bytes < 65536)
                last->bytes = own[i].offset + own[i].bytes - last->offset; /* with the padding between records */
            else if (read_count < READS_MAX)
                out[read_count++] = own[i];
        }
    }
    return read_count;
}

static bool is_packed(const sweep *s)
{
    extent own[READS_MAX];
    return list_reads(s, 0, 0, 1, own) == 1;
}

static void take(storage *reads, uint32_t *pending)
{
    read_result result;
    if (!reads->ops->reap(reads, 0, UINT64_MAX, &result)) die("a read is lost", NULL);
    if (result.status != LEAT_OK) die("reading", &result.error);
    pending[result.tag]--;
}

/* One group into the places of its records, which are free. */
static void submit_group(const sweep *s, storage *reads, uint32_t nth, uint32_t begin, uint32_t count, uint32_t place,
                         uint32_t *pending, figures *sum)
{
    extent list[READS_MAX];
    const uint32_t read_count = count > 1 && is_packed(s) ? list_packed_reads(s, nth, begin, count, list)
                                                          : list_reads(s, nth, begin, count, list);
    uint8_t *to = s->buffers + place * s->record_bytes;

    for (uint32_t i = 0; i < read_count; i++) {
        const read_request request = {
            .what = list[i], .buffer = to, .tag = place, .is_followed = i + 1 < read_count, .class = READ_DEMAND};
        to += storage_window_bytes(&s->files, &list[i]);
        pending[place]++;
        while (!reads->ops->try_submit(reads, &request)) take(reads, pending);
    }
    sum->read_count += read_count;
}

static figures run(const sweep *s, mem *ledger, uint32_t group)
{
    uint32_t pending[WINDOW_RECORDS] = {0}, place = 0;
    figures found = {0};
    leat_error error;
    storage *reads = NULL;

    if (storage_open(STORAGE_AUTO, ledger, &s->files, 4, QUEUE_DEPTH, &reads, &error) != LEAT_OK)
        die("storage", &error);
    const double cpu_begin = cpu_seconds();
    const uint64_t begin_ns = clock_now_ns();
    for (uint32_t nth = 0; nth < s->layer_count; nth++)
        for (uint32_t e = 0; e < s->records->expert_count; e += group) {
            const uint32_t count = (uint32_t)min_u64(group, s->records->expert_count - e);
            while (pending[place] > 0) take(reads, pending);
            submit_group(s, reads, nth, e, count, place, pending, &found);
            place = (place + group) % WINDOW_RECORDS;
        }
    for (uint32_t i = 0; i < WINDOW_RECORDS; i++)
        while (pending[i] > 0) take(reads, pending);
    const double bytes = (double)reads->ops->stats(reads).payload_bytes;
    found.rate = bytes / (double)(clock_now_ns() - begin_ns);
    found.cpu_per_gb = (cpu_seconds() - cpu_begin) / bytes * 1e9;
    reads->ops->close(&reads);
    return found;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUND_COUNT, sizeof *values, compare_doubles);
    return values[ROUND_COUNT / 2];
}

static void compare(const sweep *s, mem *ledger, const uint32_t *groups, uint32_t group_count)
{
    double rates[LIST_MAX][ROUND_COUNT], cpu[LIST_MAX][ROUND_COUNT], ratios[LIST_MAX][ROUND_COUNT];
    uint64_t read_counts[LIST_MAX] = {0};

    run(s, ledger, groups[0]); /* not counted */
    for (int round = 0; round < ROUND_COUNT; round++) {
        for (uint32_t g = 0; g < group_count; g++) {
            const uint32_t turn = (g + (uint32_t)round) % group_count;
            const figures f = run(s, ledger, groups[turn]);
            rates[turn][round] = f.rate;
            cpu[turn][round] = f.cpu_per_gb;
            read_counts[turn] = f.read_count;
        }
        for (uint32_t g = 0; g < group_count; g++) ratios[g][round] = rates[g][round] / rates[0][round];
    }
    printf("# experts  reads   GB/s (least..most)      CPU s/GB  beside the first (least..most)\n");
    for (uint32_t g = 0; g < group_count; g++) {
        const double rate = median(rates[g]), ratio = median(ratios[g]);
        printf("%9u %6llu  %6.3f (%5.3f..%5.3f)  %8.4f  %5.3f (%5.3f..%5.3f)\n", groups[g],
               (unsigned long long)read_counts[g], rate, rates[g][0], rates[g][ROUND_COUNT - 1], median(cpu[g]), ratio,
               ratios[g][0], ratios[g][ROUND_COUNT - 1]);
    }
}

static uint64_t record_room(const file_set *files, const expert_records *records)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < records->layer_count * records->expert_count; i++) {
        uint64_t sum = 65536; /* the padding between packed records */
        for (uint32_t p = 0; p < records->records[i].part_count; p++)
            sum += storage_window_bytes(files, &records->records[i].parts[p]);
        most = max_u64(most, sum);
    }
    return round_up(most, 65536);
}

int main(int argc, char **argv)
{
    uint32_t groups[LIST_MAX], group_count = 0;
    mem *ledger = NULL;
    checkpoint *source = NULL;
    arena memory;
    model_desc model = {0};
    expert_records records = {0};
    leat_error error;

    if (argc < 2) die("usage: sweep_bench MODEL [LAYERS [GROUPS]]", NULL);
    for (char *at = argc > 3 ? argv[3] : (char[]){"1,2,4,8,32"}; *at && group_count < LIST_MAX; at += *at == ',') {
        groups[group_count] = (uint32_t)strtoul(at, &at, 10);
        if (groups[group_count] == 0 || WINDOW_RECORDS % groups[group_count] != 0)
            die("a group has 1, 2, 4, 8, 16 or 32 experts", NULL);
        group_count++;
    }
    if (mem_open(0, &ledger, &error) != LEAT_OK || checkpoint_open(argv[1], &source, &error) != LEAT_OK)
        die(argv[1], &error);
    arena_init(&memory, ledger, MEM_META, 64 * 1024);
    if (model_build(&source->index, source->config, source->generation, &memory, &model, &error) != LEAT_OK ||
        expert_records_open(ledger, &model, &records, &error) != LEAT_OK)
        die(argv[1], &error);
    file *files = calloc(source->file_count, sizeof *files);
    if (!files || checkpoint_reopen(source, FILE_DIRECT, files, &error) != LEAT_OK) die(argv[1], &error);

    sweep s = {.files = {files, source->file_names, source->file_count}, .records = &records};
    s.layer_count = (uint32_t)min_u64(argc > 2 ? strtoul(argv[2], NULL, 10) : 2, records.layer_count);
    s.record_bytes = record_room(&s.files, &records);
    s.buffers = aligned_alloc(65536, WINDOW_RECORDS * s.record_bytes);
    if (!s.buffers) die("memory", NULL);
    memset(s.buffers, 1, WINDOW_RECORDS * s.record_bytes);
    compare(&s, ledger, groups, group_count);

    free(s.buffers);
    for (uint32_t i = 0; i < source->file_count; i++) file_close(&files[i]);
    free(files);
    expert_records_close(&records);
    arena_reset(&memory);
    checkpoint_close(&source);
    mem_close(&ledger);
    return 0;
}
