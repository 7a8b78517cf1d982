#include "report.h"

#include "human.h"
#include "terminal.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REDRAW_FIRST_NS = 300 * 1000 * 1000, REDRAW_NS = 100 * 1000 * 1000, LINE_BYTES = 1200 };

static struct {
    bool is_terminal; /* one that a line can be drawn on again and again */
    bool wants_color, is_quiet;
    uint32_t color, verbosity;
    int log_fd; /* of --log-file; -1: none */
    const char *log_path;
    struct {
        char phase[16];
        uint64_t begin_ns, begin_done, drawn_ns, decile;
        bool is_drawn;
    } progress;
} report = {.log_fd = -1};

static bool decide_color(uint32_t color, bool is_terminal)
{
    const char *term = getenv("TERM"), *forced = getenv("CLICOLOR_FORCE"), *no_color = getenv("NO_COLOR");
    if (color != 0) return color == 1;
    if (no_color && *no_color) return false;
    if (forced && *forced && strcmp(forced, "0") != 0) return true;
    return is_terminal && !(term && strcmp(term, "dumb") == 0);
}

/* By -v's count. */
static const leat_log_level levels[] = {LEAT_LOG_WARN, LEAT_LOG_INFO, LEAT_LOG_DEBUG, LEAT_LOG_TRACE};

static leat_log_level shown_level(void) { return levels[min_u64(report.verbosity, ARRAY_COUNT(levels) - 1)]; }

static void write_log(const char *level, const char *text);

static void sink_log(void *user, leat_log_level level, const char *line)
{
    (void)user;
    if (level <= LEAT_LOG_WARN)
        report_warning("%s", line);
    else if (level <= shown_level())
        report_note("leat: %s", line);
    else
        write_log("info", line);
}

void report_init(uint32_t color, uint32_t verbosity, bool is_quiet)
{
    memset(&report, 0, sizeof report);
    const bool is_terminal = isatty(STDERR_FILENO);
    report.is_terminal = is_terminal && terminal_is_capable();
    report.wants_color = decide_color(color, is_terminal);
    report.color = color;
    report.verbosity = verbosity;
    report.is_quiet = is_quiet;
    report.log_fd = -1;
    leat_log_set(sink_log, NULL, shown_level());
}

leat_status report_open_log(const char *path, leat_error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600); /* it may tell of private names */
    if (fd < 0) return FAIL_OS(error, USAGE, errno, "--log-file: %s: cannot be opened: %s", path, strerror(errno));
    report.log_fd = fd;
    report.log_path = path;
    leat_log_set(sink_log, NULL, shown_level() > LEAT_LOG_INFO ? shown_level() : LEAT_LOG_INFO);
    return LEAT_OK;
}

leat_status report_reopen_log(leat_error *error)
{
    if (report.log_fd < 0) return LEAT_OK;
    int fd = open(report.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    /* In place, so that other threads need not know. */
    bool is_open = fd >= 0 && dup3(fd, report.log_fd, O_CLOEXEC) >= 0;
    int os_errno = errno;
    if (fd >= 0) close(fd);
    if (is_open) return LEAT_OK;
    return FAIL_OS(error, IO, os_errno, "--log-file: %s: cannot be opened anew: %s", report.log_path,
                   strerror(os_errno));
}

void report_say_more(void)
{
    if (report.verbosity > 0) return;
    report.verbosity = 1;
    leat_log_set(sink_log, NULL, LEAT_LOG_INFO);
}

void report_close_log(void)
{
    if (report.log_fd >= 0) close(report.log_fd);
    report.log_fd = -1;
}

/* "2026-01-31T12:00:00.000Z info TEXT". A line that cannot be written ends the log with a warning: answers matter
 * more. */
static void write_log(const char *level, const char *text)
{
    if (report.log_fd < 0) return;
    char line[LINE_BYTES + 64];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(line, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    int length = snprintf(line + used, sizeof line - used, ".%03ldZ %s %s\n", now.tv_nsec / 1000000, level, text);
    size_t count = min_u64(used + (length > 0 ? (size_t)length : 0), sizeof line - 1);
    if (write(report.log_fd, line, count) == (ssize_t)count) return;
    int os_errno = errno;
    report_close_log();
    report_warning("--log-file: %s: write failed, nothing more is logged: %s", report.log_path, strerror(os_errno));
}

uint32_t report_verbosity(void) { return report.verbosity; }
bool report_is_quiet(void) { return report.is_quiet; }
bool report_wants_color(void) { return report.wants_color; }
bool report_wants_color_on(bool is_terminal) { return decide_color(report.color, is_terminal); }

static void erase_progress(void)
{
    static const char erase[] = "\r\033[K";
    if (!report.progress.is_drawn) return;
    report.progress.is_drawn = false;
    ssize_t ignored = write(STDERR_FILENO, erase, sizeof erase - 1);
    (void)ignored;
}

/* One write a message, so that lines of several threads do not mix. What cannot be written to stderr has nowhere else
 * to go. */
static void write_line(const char *line, size_t count)
{
    erase_progress();
    ssize_t ignored = write(STDERR_FILENO, line, count);
    (void)ignored;
}

/* The lines of files and libraries have been cleared of control bytes by status_fail and log_write; ours have none. */
static void write_message(const char *head, const char *color, const char *tail, const char *text)
{
    char line[LINE_BYTES];
    bool colored = report.wants_color && *color;
    int length =
        snprintf(line, sizeof line, "%s%s%s%s%s\n", head, colored ? color : "", tail, colored ? "\033[0m" : "", text);
    if (length < 0) return;
    if ((size_t)length >= sizeof line) {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    write_line(line, (size_t)length);
}

void report_error(const leat_error *error)
{
    const char *text = error->text[0] ? error->text : leat_status_text(error->status);
    write_message("leat: ", "\033[1;31m", "error: ", text);
    if (error->hint[0]) write_message("", "", "hint: ", error->hint);
    write_log("error", text);
    if (error->hint[0]) write_log("hint", error->hint);
}

static void write_formatted(const char *level, const char *head, const char *color, const char *tail,
                            const char *format, va_list arguments)
{
    char text[LINE_BYTES];
    vsnprintf(text, sizeof text, format, arguments);
    if (!report.is_quiet) write_message(head, color, tail, text);
    write_log(level, text);
}

void report_warning(const char *format, ...)
{
    if (report.is_quiet && report.log_fd < 0) return;
    va_list arguments;
    va_start(arguments, format);
    write_formatted("warning", "leat: ", "\033[1;33m", "warning: ", format, arguments);
    va_end(arguments);
}

void report_note(const char *format, ...)
{
    if (report.is_quiet && report.log_fd < 0) return;
    va_list arguments;
    va_start(arguments, format);
    write_formatted("info", "", "", "", format, arguments);
    va_end(arguments);
}

/* ---- progress
 * ---------------------------------------------------------------------------------------------------------------- */

/* The speed is that since the first report, which may come after some of the work. */
static void describe_progress(const char *phase, uint64_t done, uint64_t total, uint64_t elapsed_ns, char out[160])
{
    char done_text[HUMAN_BYTES], total_text[HUMAN_BYTES], left_text[HUMAN_BYTES];
    double rate = rate_per_second(done - report.progress.begin_done, elapsed_ns);
    double percent = total > 0 ? 100.0 * (double)done / (double)total : 100;
    uint64_t left_ns = rate > 0 && done < total ? (uint64_t)((double)(total - done) / rate * 1e9) : 0;
    human_time(left_ns, left_text);
    if (strcmp(phase, "prefill") == 0)
        snprintf(out, 160, "%s %3.0f %%  %llu of %llu tokens  %.1f tok/s  %s left", phase, percent,
                 (unsigned long long)done, (unsigned long long)total, rate, left_text);
    else
        snprintf(out, 160, "%s %3.0f %%  %s of %s  %.2f GB/s  %s left", phase, percent, human_bytes(done, done_text),
                 human_bytes(total, total_text), rate * 1e-9, left_text);
}

void report_progress(void *user, const char *phase, uint64_t done, uint64_t total)
{
    (void)user;
    if (report.is_quiet) return;
    uint64_t now = clock_now_ns(), decile = total > 0 ? done / div_up(total, 10) : 0;
    char text[160], line[176];
    if (strncmp(report.progress.phase, phase, sizeof report.progress.phase - 1) != 0 || done == 0) {
        report_progress_end();
        snprintf(report.progress.phase, sizeof report.progress.phase, "%s", phase);
        report.progress.begin_ns = report.progress.drawn_ns = now;
        report.progress.begin_done = done;
        report.progress.decile = 0;
    }
    describe_progress(phase, done, total, now - report.progress.begin_ns, text);
    if (!report.is_terminal) {
        if (report.verbosity > 0 && decile > report.progress.decile) report_note("%s", text);
        report.progress.decile = decile;
        return;
    }
    if (now - report.progress.begin_ns < REDRAW_FIRST_NS || now - report.progress.drawn_ns < REDRAW_NS) return;
    /* A line that wraps could not be erased; its last column stays free, as some terminals wrap there already. */
    const uint32_t columns = terminal_columns_of(STDERR_FILENO);
    int length = snprintf(line, sizeof line, "\r\033[K%.*s", (int)min_u64(columns - 1, sizeof text), text);
    report.progress.drawn_ns = now;
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored;
    report.progress.is_drawn = true;
}

void report_progress_end(void)
{
    erase_progress();
    report.progress.phase[0] = '\0';
}
