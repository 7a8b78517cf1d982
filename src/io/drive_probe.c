#include "io/drive_probe.h"

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "base/prng.h"
#include "os/clock.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_VERSION = 2,
    KEPT_DAYS = 30,
    PATH_BYTES = 4096,
    TEXT_BYTES_MAX = 64 * 1024,
    DEPTH_MAX = DRIVE_PART_DEPTH,
    PLACE_BYTES = 65536,   /* every place begins at a multiple, whatever the alignment: both ways read alike */
    CACHED_SHARE_MAX = 16, /* more than a sixteenth from the page cache is no figure of a drive */
};
static const uint64_t part_ns = 120 * UINT64_C(1000000); /* of each of the two sizes, each way */

/* ---- which drive ---- */

static void keep_plain(char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && *text != '-' && *text != '.') *text = '-';
}

static uint64_t read_sectors(const char *folder)
{
    char path[PATH_BYTES];
    unsigned long long sectors = 0;
    const int length = snprintf(path, sizeof path, "%s/size", folder);
    FILE *in = length > 0 && length < (int)sizeof path ? fopen(path, "re") : NULL;
    if (!in) return 0;
    if (fscanf(in, "%llu", &sectors) != 1) sectors = 0;
    fclose(in);
    return sectors;
}

void drive_id(const file *f, char out[DRIVE_ID_BYTES])
{
    struct stat info;
    struct statvfs volume;
    char link[64], target[PATH_BYTES];

    snprintf(out, DRIVE_ID_BYTES, "unknown");
    if (fstat(f->fd, &info) != 0) return;
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(info.st_dev), minor(info.st_dev));
    const ssize_t length = readlink(link, target, sizeof target - 1);
    if (length > 0) {
        target[length] = '\0';
        const char *name = strrchr(target, '/');
        snprintf(out, DRIVE_ID_BYTES, "%.48s-%" PRIu64, name ? name + 1 : target, read_sectors(link));
    } else {
        const uint64_t blocks = fstatvfs(f->fd, &volume) == 0 ? (uint64_t)volume.f_blocks : 0;
        snprintf(out, DRIVE_ID_BYTES, "volume-%u-%u-%" PRIu64, major(info.st_dev), minor(info.st_dev), blocks);
    }
    keep_plain(out);
}

/* ---- which way ---- */

bool drive_is_known(const drive_figures *f)
{
    return f->direct.record > 0 && f->direct.part > 0 && f->buffered.record > 0 && f->buffered.part > 0;
}

bool drive_prefers_buffered(const drive_figures *f)
{
    return drive_is_known(f) && f->buffered.record > DRIVE_CLEARLY_FASTER * f->direct.record &&
           f->buffered.part > DRIVE_CLEARLY_FASTER * f->direct.part;
}

/* ---- measuring ---- */

typedef struct probe {
    const file_set *files;
    storage *reads;
    uint8_t *buffers; /* DEPTH_MAX windows, or fewer larger ones */
    prng random;
    uint64_t total_bytes;               /* of the files */
    uint64_t asked_bytes, cached_bytes; /* buffered; of those asked, in the page cache although it was told to drop */
} probe;

/* A place where `bytes` lie within one file; the offset is aligned, so that the window is no larger. */
static bool choose_extent(probe *p, uint64_t bytes, extent *out)
{
    uint64_t at = prng_next(&p->random) % p->total_bytes;
    for (uint32_t i = 0; i < p->files->count; i++) {
        const file *f = &p->files->files[i];
        if (at >= f->bytes) {
            at -= f->bytes;
            continue;
        }
        if (f->bytes < bytes) return false;
        const uint64_t offset = min_u64(at, f->bytes - bytes) / PLACE_BYTES * PLACE_BYTES;
        *out = (extent){i, offset, bytes};
        return true;
    }
    return false;
}

/* What the page cache holds says nothing about the drive. */
static void forget_cached(probe *p, const extent *what)
{
    const file *f = &p->files->files[what->file_idx];
    if (!f->drops_behind) return;
    file_drop_behind(f, what->offset, what->bytes);
    p->asked_bytes += what->bytes;
    p->cached_bytes += min_u64(what->bytes, file_cached_bytes(f, what->offset, what->bytes));
}

static void ask(probe *p, uint64_t tag, uint64_t bytes, uint64_t window)
{
    read_request request = {.buffer = p->buffers + tag * window, .tag = tag, .class = READ_DEMAND};
    for (uint32_t tries = 0; tries < 1000; tries++)
        if (choose_extent(p, bytes, &request.what)) {
            forget_cached(p, &request.what);
            p->reads->ops->submit(p->reads, &request);
            return;
        }
}

/* Bytes a second at this size and depth. Every read that comes back within the time is followed by another one. */
static leat_status measure(probe *p, uint64_t bytes, uint64_t window, uint32_t depth, double *out_rate,
                           leat_error *error)
{
    const uint64_t begin_ns = clock_now_ns();
    uint64_t done_bytes = 0, end_ns = begin_ns;
    leat_status status = LEAT_OK;
    read_result result;

    for (uint32_t i = 0; i < depth; i++) ask(p, i, bytes, window);
    while (p->reads->ops->reap(p->reads, 0, depth, &result)) {
        if (result.status != LEAT_OK && status == LEAT_OK) {
            status = result.status;
            if (error) *error = result.error;
        }
        done_bytes += bytes;
        end_ns = clock_now_ns();
        if (status == LEAT_OK && end_ns - begin_ns < part_ns) ask(p, result.tag, bytes, window);
    }
    *out_rate = end_ns > begin_ns ? (double)done_bytes * 1e9 / (double)(end_ns - begin_ns) : 0;
    return status;
}

static uint64_t window_of(const file_set *files, uint64_t bytes)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < files->count; i++)
        most = max_u64(most, storage_window_bytes(files, &(extent){i, 0, bytes}));
    return most;
}

static leat_status measure_sizes(probe *p, uint64_t largest, drive_rates *out, leat_error *error)
{
    const uint64_t record = min_u64(DRIVE_RECORD_BYTES, largest), part = min_u64(DRIVE_PART_BYTES, largest);
    TRY(measure(p, record, window_of(p->files, record), DRIVE_RECORD_DEPTH, &out->record, error));
    return measure(p, part, window_of(p->files, part), DRIVE_PART_DEPTH, &out->part, error);
}

/* One way, as the files are. */
static leat_status measure_way(mem *ledger, const file_set *files, storage_kind kind, drive_rates *out,
                               bool *out_is_of_drive, leat_error *error)
{
    leat_status status = LEAT_OK;
    probe p = {.files = files};
    uint64_t largest = 0;

    for (uint32_t i = 0; i < files->count; i++) {
        largest = max_u64(largest, files->files[i].bytes);
        p.total_bytes += files->files[i].bytes;
    }
    const uint64_t bytes = max_u64(DRIVE_RECORD_DEPTH * window_of(files, DRIVE_RECORD_BYTES),
                                   DEPTH_MAX * window_of(files, DRIVE_PART_BYTES));
    prng_init(&p.random, clock_now_ns());
    TRY_OR(done, mem_alloc(ledger, MEM_IO, 1, bytes, PLACE_BYTES, "buffers of a probe", (void **)&p.buffers, error));
    memset(p.buffers, 1, bytes); /* the first touch of memory is not the drive's time */
    TRY_OR(done, storage_open(kind, ledger, files, 4, DEPTH_MAX, &p.reads, error));
    TRY_OR(done, measure_sizes(&p, largest, out, error));
    *out_is_of_drive = p.cached_bytes <= p.asked_bytes / CACHED_SHARE_MAX;
done:
    if (p.reads) p.reads->ops->close(&p.reads);
    mem_free(ledger, p.buffers);
    return status;
}

leat_status drive_probe(mem *ledger, file *files, const char *const *names, uint32_t count, storage_kind kind,
                        drive_figures *out_figures, leat_error *error)
{
    const file_set set = {files, names, count};
    drive_figures figures = {.measured_s = (int64_t)time(NULL)};
    bool is_of_drive = true, can_be_direct = true;
    uint64_t largest = 0;

    for (uint32_t i = 0; i < count; i++) {
        largest = max_u64(largest, files[i].bytes);
        can_be_direct &= files[i].is_direct;
    }
    if (largest >= DRIVE_PART_BYTES) { /* else nothing that could be called a rate */
        if (can_be_direct) TRY(measure_way(ledger, &set, kind, &figures.direct, &is_of_drive, error));
        for (uint32_t i = 0; i < count; i++)
            if (files[i].is_direct) TRY(file_leave_direct(&files[i], names[i], error));
        TRY(measure_way(ledger, &set, kind, &figures.buffered, &is_of_drive, error));
        if (can_be_direct && !is_of_drive) figures.buffered = (drive_rates){0};
    }
    *out_figures = figures;
    return LEAT_OK;
}

/* ---- remembering ---- */

static bool make_path(const char *folder, const char *id, char out[PATH_BYTES])
{
    const int length = snprintf(out, PATH_BYTES, "%s/drive-%s.json", folder, id);
    return length > 0 && length < PATH_BYTES;
}

leat_status drive_figures_save(const char *folder, const char *id, const drive_figures *f, leat_error *error)
{
    char path[PATH_BYTES], text[512];

    if (!make_path(folder, id, path)) return FAIL(error, IO, "%.64s...: the name is too long", folder);
    const int length = snprintf(text, sizeof text,
                                "{\"leat_drive\":%d,\"drive\":\"%s\",\"measured_s\":%" PRId64
                                ",\"direct_record_bytes_per_s\":%.0f,\"direct_part_bytes_per_s\":%.0f"
                                ",\"buffered_record_bytes_per_s\":%.0f,\"buffered_part_bytes_per_s\":%.0f}\n",
                                FILE_VERSION, id, f->measured_s, f->direct.record, f->direct.part, f->buffered.record,
                                f->buffered.part);
    return file_replace(path, text, (uint64_t)length, 0600, error);
}

typedef struct found_file {
    double version, measured_s;
    bool is_of_drive;
    drive_figures figures;
} found_file;

static leat_status read_member(json *parser, const json_token *key, const char *id, found_file *f, leat_error *error)
{
    const struct {
        const char *name;
        double *to;
    } numbers[] = {{"leat_drive", &f->version},
                   {"measured_s", &f->measured_s},
                   {"direct_record_bytes_per_s", &f->figures.direct.record},
                   {"direct_part_bytes_per_s", &f->figures.direct.part},
                   {"buffered_record_bytes_per_s", &f->figures.buffered.record},
                   {"buffered_part_bytes_per_s", &f->figures.buffered.part}};
    const bool is_drive = json_text_is(key, "drive");
    double *number = NULL;
    json_token value;

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (json_text_is(key, numbers[i].name)) number = numbers[i].to;
    TRY(json_next(parser, &value, error));
    if (is_drive && value.kind == JSON_STRING)
        f->is_of_drive = json_text_is(&value, id);
    else if (number && (value.kind != JSON_NUMBER || !json_to_f64(&value, number) || !(*number >= 0 && *number < 1e15)))
        return json_fail_at(parser, value.offset, error, "expected a number");
    else if (!number)
        return json_skip_rest(parser, &value, error);
    return LEAT_OK;
}

static leat_status read_file(json *parser, const char *id, found_file *f, leat_error *error)
{
    json_token token;

    TRY(json_next(parser, &token, error));
    if (token.kind != JSON_OBJECT_BEGIN) return json_fail_at(parser, token.offset, error, "expected an object");
    for (;;) {
        TRY(json_next(parser, &token, error));
        if (token.kind == JSON_OBJECT_END) break;
        TRY(read_member(parser, &token, id, f, error));
    }
    return json_next(parser, &token, error);
}

static bool is_worth_something(const found_file *f)
{
    const double age_s = (double)time(NULL) - f->measured_s;
    return f->version == FILE_VERSION && f->is_of_drive && age_s >= -60 && age_s < KEPT_DAYS * 86400.0;
}

bool drive_figures_load(mem *ledger, const char *folder, const char *id, drive_figures *out_figures)
{
    char path[PATH_BYTES], *text = NULL;
    uint64_t bytes;
    json *parser = NULL;
    leat_error error;
    found_file found = {0};

    if (!make_path(folder, id, path) || access(path, F_OK) != 0) return false;
    leat_status status = file_load(ledger, MEM_META, AT_FDCWD, path, false, TEXT_BYTES_MAX, &text, &bytes, &error);
    if (status == LEAT_OK)
        status = json_open(ledger, MEM_META, path, text, bytes, &json_limits_default, &parser, &error);
    if (status == LEAT_OK) status = read_file(parser, id, &found, &error);
    json_close(&parser);
    mem_free(ledger, text);
    if (status != LEAT_OK) log_write(LOG_DEBUG, "%s; measured anew when it is wanted", error.text);
    if (status != LEAT_OK || !is_worth_something(&found)) return false;
    *out_figures = found.figures;
    out_figures->measured_s = (int64_t)found.measured_s;
    return true;
}
