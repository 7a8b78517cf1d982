#include "terminal.h"

#include "base/utf8.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

static struct termios found, raw;
static volatile int is_raw;
static volatile sig_atomic_t is_resized, is_continued, is_asked_to_stop;

/* While the terminal is raw. Otherwise the system's own ways with these signals are right. */
static const int watched[] = {SIGWINCH, SIGCONT, SIGTSTP};
static struct sigaction found_actions[sizeof watched / sizeof *watched];

/* Bracketed paste: pasted text arrives between marks, so that its newlines do not submit. */
static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";

static void send(const char *sequence, size_t count)
{
    ssize_t ignored = write(STDOUT_FILENO, sequence, count);
    (void)ignored;
}

bool terminal_is_capable(void)
{
    const char *term = getenv("TERM");
    return term && *term && strcmp(term, "dumb") != 0;
}

bool terminal_is_interactive(void) { return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal_is_capable(); }

static void note_event(int signal_number)
{
    if (signal_number == SIGWINCH) is_resized = 1;
    if (signal_number == SIGCONT) is_continued = 1;
    if (signal_number == SIGTSTP) is_asked_to_stop = 1;
}

static void watch(bool begins)
{
    struct sigaction action = {.sa_handler = note_event}; /* no SA_RESTART: who waits for a key must look */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
        sigaction(watched[i], begins ? &action : &found_actions[i], begins ? &found_actions[i] : NULL);
}

terminal_event terminal_next_event(void)
{
    if (is_asked_to_stop) {
        is_asked_to_stop = 0;
        return TERMINAL_STOP;
    }
    if (is_continued) { /* shells put their own modes in place meanwhile */
        is_continued = is_resized = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        send(paste_on, sizeof paste_on - 1);
        return TERMINAL_CONTINUED;
    }
    if (!is_resized) return TERMINAL_SAME;
    is_resized = 0;
    return TERMINAL_RESIZED;
}

void terminal_suspend(void)
{
    terminal_restore();
    raise(SIGTSTP);
    terminal_set_raw();
}

bool terminal_set_raw(void)
{
    if (is_raw) return true;
    if (tcgetattr(STDIN_FILENO, &found) != 0) return false;
    raw = found;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) return false;
    is_raw = 1;
    is_resized = is_continued = is_asked_to_stop = 0;
    watch(true);
    send(paste_on, sizeof paste_on - 1);
    return true;
}

void terminal_restore(void)
{
    if (!is_raw) return;
    is_raw = 0;
    watch(false);
    send(paste_off, sizeof paste_off - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
}

uint32_t terminal_columns(void) { return terminal_columns_of(STDOUT_FILENO); }

uint32_t terminal_columns_of(int fd)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

uint32_t terminal_width(const char *text, uint64_t length)
{
    uint32_t width = 0;
    for (uint64_t at = 0; at < length;) {
        uint32_t scalar = 0;
        size_t count = utf8_decode(text + at, length - at, &scalar, NULL);
        int columns = count > 0 ? wcwidth((wchar_t)scalar) : 1;
        width += columns > 0 ? (uint32_t)columns : 0;
        at += count > 0 ? count : 1;
    }
    return width;
}
