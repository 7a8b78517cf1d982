/*
 * fuzz_driver.c - runs a fuzz target over its seeds and over mutations of them, the same ones every time.
 *
 *     fuzz_X [--runs N] [--only RUN] [--dump FILE] SEED_FILE_OR_FOLDER...
 *
 * This is the part of fuzzing that belongs into every test run: no coverage feedback, but no special compiler either.
 * For a long search, build the target alone with clang -fsanitize=fuzzer,address and give it the same folder.
 *
 * Mutation number RUN depends on nothing but RUN and the seeds. When a target dies, its number is the last line on
 * stderr, and --only RUN --dump FILE brings the input back.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/prng.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEEDS_MAX = 512, INPUT_BYTES_MAX = 1 << 20, RUNS_DEFAULT = 20000, MUTATIONS_MAX = 6, PATH_BYTES = 4096 };

typedef struct input {
    uint8_t *bytes;
    size_t count;
} input;

static input seeds[SEEDS_MAX];
static size_t seed_count;
static volatile uint64_t current_run; /* seeds come first: run < seed_count is a seed as it is */

static _Noreturn void give_up(const char *what, const char *which)
{
    fprintf(stderr, "fuzz_driver: %s: %s\n", which, what);
    exit(2);
}

/* ---- saying which run died; only async-signal-safe calls ---- */

static void report_run(void)
{
    char text[48] = "fuzz_driver: died in run ", digits[24];
    size_t at = strlen(text), digit_count = 0;
    uint64_t run = current_run;
    do {
        digits[digit_count++] = (char)('0' + run % 10);
        run /= 10;
    } while (run != 0);
    while (digit_count > 0) text[at++] = digits[--digit_count];
    text[at++] = '\n';
    if (write(STDERR_FILENO, text, at) < 0) return;
}

static void report_signal(int number)
{
    report_run();
    signal(number, SIG_DFL);
    raise(number);
}

/* Present when a sanitizer is linked in; it ends the process without a signal. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_for_death(void)
{
    signal(SIGABRT, report_signal);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(report_run);
        return;
    }
    signal(SIGSEGV, report_signal);
    signal(SIGBUS, report_signal);
    signal(SIGFPE, report_signal);
    signal(SIGILL, report_signal);
}

/* ---- seeds ---- */

static void add_seed_file(const char *path)
{
    if (seed_count == SEEDS_MAX) give_up("too many seeds", path);
    FILE *in = fopen(path, "rb");
    if (in == NULL) give_up(strerror(errno), path);
    input *seed = &seeds[seed_count++];
    seed->bytes = malloc(INPUT_BYTES_MAX);
    if (seed->bytes == NULL) give_up("no memory", path);
    seed->count = fread(seed->bytes, 1, INPUT_BYTES_MAX, in);
    fclose(in);
    uint8_t *exact = realloc(seed->bytes, seed->count == 0 ? 1 : seed->count);
    if (exact != NULL) seed->bytes = exact;
}

static int is_plain_name(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void add_seeds(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) give_up(strerror(errno), path);
    if (!S_ISDIR(info.st_mode)) {
        add_seed_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_plain_name, alphasort); /* the order is part of a run's number */
    if (count < 0) give_up(strerror(errno), path);
    for (int i = 0; i < count; i++) {
        char name[PATH_BYTES];
        if (snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) >= (int)sizeof name)
            give_up("too long", path);
        add_seeds(name);
        free(entries[i]);
    }
    free(entries);
}

/* ---- mutations ---- */

static size_t pick(prng *generator, size_t bound) { return bound == 0 ? 0 : (size_t)prng_below(generator, bound); }

/* Replaces victim[start .. start + removed) by `added` bytes. */
static void splice(input *victim, size_t start, size_t removed, const void *added_bytes, size_t added)
{
    if (victim->count - removed + added > INPUT_BYTES_MAX) return;
    memmove(victim->bytes + start + added, victim->bytes + start + removed, victim->count - start - removed);
    memcpy(victim->bytes + start, added_bytes, added);
    victim->count = victim->count - removed + added;
}

static void put_word(input *victim, prng *generator, const char *word)
{
    size_t start = pick(generator, victim->count + 1);
    size_t removed = pick(generator, 2) == 0 ? 0 : pick(generator, min_u64(strlen(word), victim->count - start) + 1);
    splice(victim, start, removed, word, strlen(word));
}

/* Finds the digits at or behind a random place and puts a number there that breaks size arithmetic. */
static void replace_number(input *victim, prng *generator)
{
    static const char *const numbers[] = {
        "0",
        "-1",
        "1",
        "2147483648",
        "4294967295",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e999",
        "0.5",
        "-0",
        "99999999999999999999999999",
    };
    size_t start = pick(generator, victim->count);
    while (start < victim->count && (victim->bytes[start] < '0' || victim->bytes[start] > '9')) start++;
    size_t end = start;
    while (end < victim->count && victim->bytes[end] >= '0' && victim->bytes[end] <= '9') end++;
    const char *number = numbers[pick(generator, ARRAY_COUNT(numbers))];
    if (end > start) splice(victim, start, end - start, number, strlen(number));
}

/* A little-endian field of eight bytes, as in the headers of binary formats. */
static void replace_word64(input *victim, prng *generator)
{
    static const uint64_t values[] = {0,          1,          0x7f,      0xff,       0xffff,
                                      0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    if (victim->count < 8) return;
    uint64_t value = values[pick(generator, ARRAY_COUNT(values))];
    if (pick(generator, 2) == 0) value = victim->count - 8 + pick(generator, 17) - 8;
    /* Fields lie at multiples of eight more often than not, and the first is the one that counts. */
    size_t start = pick(generator, 4) == 0   ? 0
                   : pick(generator, 2) == 0 ? pick(generator, victim->count / 8) * 8
                                             : pick(generator, victim->count - 7);
    memcpy(victim->bytes + start, &value, 8);
}

static void move_piece(input *victim, prng *generator, const input *donor)
{
    size_t from = pick(generator, donor->count), length = pick(generator, min_u64(donor->count - from, 64) + 1);
    uint8_t piece[64];
    memcpy(piece, donor->bytes + from, length);
    splice(victim, pick(generator, victim->count + 1), 0, piece, length);
}

static void mutate_once(input *victim, prng *generator, size_t word_count)
{
    size_t at = pick(generator, victim->count);
    switch (pick(generator, 9)) {
    case 0:
        if (victim->count > 0) victim->bytes[at] ^= (uint8_t)(1u << pick(generator, 8));
        break;
    case 1:
        if (victim->count > 0) victim->bytes[at] = (uint8_t)prng_next(generator);
        break;
    case 2: {
        uint8_t byte = (uint8_t)prng_next(generator);
        splice(victim, at, 0, &byte, 1);
        break;
    }
    case 3: splice(victim, at, pick(generator, min_u64(victim->count - at, 32) + 1), "", 0); break;
    case 4: /* the end is lost */
        if (pick(generator, 4) == 0) victim->count = at;
        break;
    case 5: move_piece(victim, generator, victim); break;
    case 6: move_piece(victim, generator, &seeds[pick(generator, seed_count)]); break;
    case 7:
        if (pick(generator, 2) == 0)
            replace_number(victim, generator);
        else
            replace_word64(victim, generator);
        break;
    default:
        if (word_count > 0) put_word(victim, generator, fuzz_words[pick(generator, word_count)]);
        break;
    }
}

/* `victim` has room for INPUT_BYTES_MAX. */
static void make_input(uint64_t run, size_t word_count, input *victim)
{
    prng generator;
    prng_init(&generator, run);
    const input *seed = &seeds[run < seed_count ? (size_t)run : pick(&generator, seed_count)];
    memcpy(victim->bytes, seed->bytes, seed->count);
    victim->count = seed->count;
    if (run < seed_count) return;
    for (size_t left = 1 + pick(&generator, MUTATIONS_MAX); left > 0; left--)
        mutate_once(victim, &generator, word_count);
}

static void run_target(const input *made)
{
    /* A block of the exact length, so that the address sanitizer sees a read behind it. */
    uint8_t *exact = malloc(made->count == 0 ? 1 : made->count);
    if (exact == NULL) give_up("no memory", "input");
    memcpy(exact, made->bytes, made->count);
    (void)LLVMFuzzerTestOneInput(exact, made->count);
    free(exact);
}

int main(int argc, char **argv)
{
    uint64_t run_count = RUNS_DEFAULT, only_run = UINT64_MAX;
    const char *dump_path = NULL;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--runs") == 0 && has_value)
            run_count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && has_value)
            only_run = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--dump") == 0 && has_value)
            dump_path = argv[++i];
        else
            add_seeds(argv[i]);
    }
    if (seed_count == 0) give_up("give seed files or folders", "usage");
    size_t word_count = 0;
    while (fuzz_words[word_count] != NULL) word_count++;

    input made = {.bytes = malloc(INPUT_BYTES_MAX)};
    if (made.bytes == NULL) give_up("no memory", "input");
    watch_for_death();
    uint64_t first = only_run == UINT64_MAX ? 0 : only_run;
    uint64_t end = only_run == UINT64_MAX ? seed_count + run_count : only_run + 1;
    for (uint64_t run = first; run < end; run++) {
        current_run = run;
        make_input(run, word_count, &made);
        if (dump_path != NULL) {
            FILE *out = fopen(dump_path, "wb");
            if (out == NULL || fwrite(made.bytes, 1, made.count, out) != made.count || fclose(out) != 0)
                give_up("cannot be written", dump_path);
        }
        run_target(&made);
    }
    printf("%llu inputs from %zu seeds\n", (unsigned long long)(end - first), seed_count);
    free(made.bytes);
    for (size_t i = 0; i < seed_count; i++) free(seeds[i].bytes);
    return 0;
}
