#include "report.h"

#include "human.h"

#include "base/bytes.h"
#include "os/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_FIRST_NS = 300 * 1000 * 1000, REDRAW_NS = 100 * 1000 * 1000, LINE_BYTES = 1200 };

static struct {
    bool is_terminal, wants_color, is_quiet;
    uint32_t verbosity;
    struct {
        char phase[16];
        uint64_t begin_ns, begin_done, drawn_ns, decile;
        bool is_drawn;
    } progress;
} report;

static bool decide_color(uint32_t color, bool is_terminal)
{
    const char *term = getenv("TERM"), *forced = getenv("CLICOLOR_FORCE"), *no_color = getenv("NO_COLOR");
    if (color != 0) return color == 1;
    if (no_color && *no_color) return false;
    if (forced && *forced && strcmp(forced, "0") != 0) return true;
    return is_terminal && !(term && strcmp(term, "dumb") == 0);
}

static void sink_log(void *user, leat_log_level level, const char *line)
{
    (void)user;
    if (level <= LEAT_LOG_WARN) report_warning("%s", line);
    else report_note("leat: %s", line);
}

void report_init(uint32_t color, uint32_t verbosity, bool is_quiet)
{
    memset(&report, 0, sizeof report);
    report.is_terminal = isatty(STDERR_FILENO);
    report.wants_color = decide_color(color, report.is_terminal);
    report.verbosity = verbosity;
    report.is_quiet = is_quiet;
    static const leat_log_level levels[] = {LEAT_LOG_WARN, LEAT_LOG_INFO, LEAT_LOG_DEBUG, LEAT_LOG_TRACE};
    leat_log_set(sink_log, NULL, levels[min_u64(verbosity, ARRAY_COUNT(levels) - 1)]);
}

uint32_t report_verbosity(void) { return report.verbosity; }
bool report_is_quiet(void) { return report.is_quiet; }
bool report_wants_color(void) { return report.wants_color; }

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
    write_message("leat: ", "\033[1;31m", "error: ", error->text[0] ? error->text : leat_status_text(error->status));
    if (error->hint[0]) write_message("", "", "hint: ", error->hint);
}

static void write_formatted(const char *head, const char *color, const char *tail, const char *format,
                            va_list arguments)
{
    char text[LINE_BYTES];
    vsnprintf(text, sizeof text, format, arguments);
    write_message(head, color, tail, text);
}

void report_warning(const char *format, ...)
{
    if (report.is_quiet) return;
    va_list arguments;
    va_start(arguments, format);
    write_formatted("leat: ", "\033[1;33m", "warning: ", format, arguments);
    va_end(arguments);
}

void report_note(const char *format, ...)
{
    if (report.is_quiet) return;
    va_list arguments;
    va_start(arguments, format);
    write_formatted("", "", "", format, arguments);
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
    int length = snprintf(line, sizeof line, "\r\033[K%s", text);
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
