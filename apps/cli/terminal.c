#include "terminal.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

static struct termios found;
static volatile int is_raw;

/* Bracketed paste: pasted text arrives between marks, so that its newlines do not submit. */
static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";

static void send(const char *sequence, size_t count)
{
    ssize_t ignored = write(STDOUT_FILENO, sequence, count);
    (void)ignored;
}

bool terminal_is_interactive(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool terminal_set_raw(void)
{
    if (is_raw) return true;
    if (tcgetattr(STDIN_FILENO, &found) != 0) return false;
    struct termios raw = found;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) return false;
    is_raw = 1;
    send(paste_on, sizeof paste_on - 1);
    return true;
}

void terminal_restore(void)
{
    if (!is_raw) return;
    is_raw = 0;
    send(paste_off, sizeof paste_off - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
}

uint32_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
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
