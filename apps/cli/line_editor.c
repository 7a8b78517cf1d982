/*
 * line_editor.c - keys change the text and the cursor; after each, the whole question is drawn again.
 *
 * Drawing knows one thing about the screen: how many rows above the cursor the prompt stands. A frame goes up that far,
 * clears to the end of the screen, writes prompt and text, and moves to the cursor. All of it is one write, so that
 * nothing flickers.
 */
#include "line_editor.h"

#include "external_editor.h"
#include "signals.h"
#include "terminal.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ESCAPE = 27, ESCAPE_PATIENCE_MS = 50, SEQUENCE_BYTES = 32, IDLE_MS = 1000 };
#define CTRL(letter) ((letter)&0x1f)

/* Keys beyond bytes; the numbers are above every byte. */
enum { KEY_EOF = 256, KEY_INTERRUPTED, KEY_NONE };

void line_editor_init(line_editor *e, mem *ledger, history *past, line_editor_hooks hooks)
{
    *e = (line_editor){.past = past, .hooks = hooks};
    e->saved.ledger = e->killed.ledger = e->screen.ledger = ledger;
}

void line_editor_reset(line_editor *e)
{
    strbuf_reset(&e->saved);
    strbuf_reset(&e->killed);
    strbuf_reset(&e->screen);
}

/* ---- drawing -------------------------------------------------------------------------------------------------- */

typedef struct place {
    uint32_t row, col;
} place;

/* What stands on the screen for the character at `bytes`: itself, or one column in place of what is none, which comes
 * from files and editors. *out_length: how much of the text it is. */
static const char *drawn_character(const char *bytes, size_t count, size_t *out_length, uint32_t *out_width)
{
    uint32_t scalar;
    size_t invalid = 0;
    *out_length = utf8_decode(bytes, count, &scalar, &invalid);
    *out_width = 1;
    if (*out_length == 0) {
        *out_length = invalid > 0 ? invalid : 1;
        return "\xef\xbf\xbd";
    }
    if (scalar == '\t') return " ";
    if (terminal_is_control(scalar)) return "\xef\xbf\xbd";
    *out_width = terminal_width(bytes, *out_length);
    return NULL;
}

static leat_status append_drawn(strbuf *screen, const char *text, size_t count, leat_error *error)
{
    size_t begin = 0, length;
    uint32_t width;
    for (size_t at = 0; at < count; at += length) {
        const char *instead = drawn_character(text + at, count - at, &length, &width);
        if (!instead) continue;
        TRY(strbuf_append(screen, text + begin, at - begin, error));
        TRY(strbuf_append_text(screen, instead, error));
        begin = at + length;
    }
    return strbuf_append(screen, text + begin, count - begin, error);
}

/* Where the cursor stands after `text` from `at`, as a terminal of `columns` wraps it. */
static place advance(place at, const char *text, size_t count, uint32_t columns)
{
    size_t length;
    uint32_t width;
    for (size_t i = 0; i < count; i += length) {
        drawn_character(text + i, count - i, &length, &width);
        if (at.col + width > columns) at = (place){at.row + 1, 0};
        at.col += width;
    }
    return at;
}

static leat_status draw_motion(line_editor *e, uint32_t count, char direction, leat_error *error)
{
    char motion[16];
    if (count == 0) return LEAT_OK;
    int length = snprintf(motion, sizeof motion, "\033[%u%c", count, direction);
    return strbuf_append(&e->screen, motion, (size_t)length, error);
}

/* A full row leaves the cursor hanging behind its last column; a new line makes the place definite. */
static leat_status settle(line_editor *e, place *at, uint32_t columns, leat_error *error)
{
    if (at->col < columns) return LEAT_OK;
    *at = (place){at->row + 1, 0};
    return strbuf_append_text(&e->screen, "\r\n", error);
}

/* Prompt and text; *out_cursor is where the cursor belongs, *out_end where the drawing ended. */
static leat_status draw_text(line_editor *e, uint32_t columns, place *out_cursor, place *out_end, leat_error *error)
{
    const char *text = strbuf_text(e->text), *line_prompt = e->prompt;
    place at = {0, 0};
    for (size_t begin = 0;; line_prompt = e->continuation) {
        size_t length = strcspn(text + begin, "\n");
        TRY(strbuf_append_text(&e->screen, line_prompt, error));
        TRY(append_drawn(&e->screen, text + begin, length, error));
        at = advance(at, line_prompt, strlen(line_prompt), columns);
        if (e->cursor >= begin && e->cursor <= begin + length) {
            *out_cursor = advance(at, text + begin, e->cursor - begin, columns);
            if (out_cursor->col == columns) *out_cursor = (place){out_cursor->row + 1, 0};
        }
        at = advance(at, text + begin, length, columns);
        begin += length;
        if (text[begin] == '\0') break;
        begin++;
        TRY(settle(e, &at, columns, error));
        TRY(strbuf_append_text(&e->screen, "\r\n", error));
        at = (place){at.row + 1, 0};
    }
    TRY(settle(e, &at, columns, error));
    *out_end = at;
    return LEAT_OK;
}

static void send_screen(line_editor *e)
{
    const char *bytes = strbuf_text(&e->screen);
    for (size_t left = e->screen.count; left > 0;) {
        ssize_t count = write(STDOUT_FILENO, bytes, left);
        if (count < 0 && errno != EINTR) break; /* the terminal is gone: the next read will say so */
        if (count > 0) {
            bytes += count;
            left -= (size_t)count;
        }
    }
}

static leat_status draw(line_editor *e, leat_error *error)
{
    place cursor = {0, 0}, end = {0, 0};
    uint32_t columns = terminal_columns();
    strbuf_cut(&e->screen, 0);
    TRY(draw_motion(e, e->cursor_row, 'A', error));
    TRY(strbuf_append_text(&e->screen, "\r\033[J", error));
    TRY(draw_text(e, columns, &cursor, &end, error));
    TRY(draw_motion(e, end.row - cursor.row, 'A', error));
    TRY(strbuf_append_text(&e->screen, "\r", error));
    TRY(draw_motion(e, cursor.col, 'C', error));
    send_screen(e);
    e->cursor_row = cursor.row;
    return LEAT_OK;
}

/* Leaves the question on the screen and goes below it. */
static leat_status leave(line_editor *e, const char *mark, leat_error *error)
{
    e->cursor = e->text->count;
    TRY(draw(e, error));
    strbuf_cut(&e->screen, 0);
    TRY(strbuf_append_text(&e->screen, mark, error));
    TRY(strbuf_append_text(&e->screen, "\r\n", error));
    send_screen(e);
    return LEAT_OK;
}

/* ---- moving and changing
 * ------------------------------------------------------------------------------------------------------------- */

static bool is_continuation_byte(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

static bool takes_column(const char *bytes, size_t count)
{
    size_t length;
    uint32_t width;
    drawn_character(bytes, count, &length, &width);
    return width > 0;
}

/* To the next character that takes a column: marks that combine with it go along. */
static size_t next_character(const line_editor *e, size_t at)
{
    const strbuf *t = e->text;
    if (at >= t->count) return t->count;
    do {
        for (at++; at < t->count && is_continuation_byte(t->bytes[at]);) at++;
        size_t end = at + 1;
        while (end < t->count && is_continuation_byte(t->bytes[end])) end++;
        if (at >= t->count || takes_column(t->bytes + at, end - at)) break;
    } while (true);
    return at;
}

static size_t previous_character(const line_editor *e, size_t at)
{
    const strbuf *t = e->text;
    while (at > 0) {
        size_t end = at--;
        while (at > 0 && is_continuation_byte(t->bytes[at])) at--;
        if (takes_column(t->bytes + at, end - at)) break;
    }
    return at;
}

static bool is_word_byte(char c)
{
    return (unsigned char)c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}

static size_t next_word(const line_editor *e)
{
    size_t at = e->cursor;
    while (at < e->text->count && !is_word_byte(e->text->bytes[at])) at++;
    while (at < e->text->count && is_word_byte(e->text->bytes[at])) at++;
    return at;
}

static size_t previous_word(const line_editor *e)
{
    size_t at = e->cursor;
    while (at > 0 && !is_word_byte(e->text->bytes[at - 1])) at--;
    while (at > 0 && is_word_byte(e->text->bytes[at - 1])) at--;
    return at;
}

static size_t line_begin(const line_editor *e)
{
    size_t at = e->cursor;
    while (at > 0 && e->text->bytes[at - 1] != '\n') at--;
    return at;
}

static size_t line_end(const line_editor *e)
{
    size_t at = e->cursor;
    while (at < e->text->count && e->text->bytes[at] != '\n') at++;
    return at;
}

static leat_status insert(line_editor *e, const char *bytes, size_t count, leat_error *error)
{
    TRY(strbuf_insert(e->text, e->cursor, bytes, count, error));
    e->cursor += count;
    return LEAT_OK;
}

/* Removes [begin, end) of the text; the cursor goes to its place. */
static void erase(line_editor *e, size_t begin, size_t end)
{
    if (begin == end) return;
    memmove(e->text->bytes + begin, e->text->bytes + end, e->text->count - end);
    strbuf_cut(e->text, e->text->count - (end - begin));
    e->cursor = begin;
}

static leat_status cut_out(line_editor *e, size_t begin, size_t end, leat_error *error)
{
    if (begin == end) return LEAT_OK;
    strbuf_cut(&e->killed, 0);
    TRY(strbuf_append(&e->killed, e->text->bytes + begin, end - begin, error));
    erase(e, begin, end);
    return LEAT_OK;
}

/* ---- history and completion
 * --------------------------------------------------------------------------------------------------------- */

static leat_status replace_text(line_editor *e, const char *text, leat_error *error)
{
    strbuf_cut(e->text, 0);
    TRY(strbuf_append_text(e->text, text, error));
    e->cursor = e->text->count;
    return LEAT_OK;
}

static leat_status show_past(line_editor *e, bool older, leat_error *error)
{
    if (older ? e->past_idx == 0 : e->past_idx == e->past->count) return LEAT_OK;
    if (e->past_idx == e->past->count) {
        strbuf_cut(&e->saved, 0);
        TRY(strbuf_append(&e->saved, strbuf_text(e->text), e->text->count, error));
    }
    e->past_idx = older ? e->past_idx - 1 : e->past_idx + 1;
    return replace_text(e, e->past_idx == e->past->count ? strbuf_text(&e->saved) : e->past->entries[e->past_idx],
                        error);
}

static leat_status show_words(line_editor *e, const completion *found, leat_error *error)
{
    const size_t cursor = e->cursor;
    TRY(leave(e, "", error));
    strbuf_cut(&e->screen, 0);
    TRY(completion_list(found, terminal_columns(), &e->screen, error));
    send_screen(e);
    e->cursor = cursor;
    e->cursor_row = 0;
    return LEAT_OK;
}

/* As much as all words have in common; where that is nothing new, the words. */
static leat_status apply_completion(line_editor *e, const completion *found, leat_error *error)
{
    const size_t typed = e->text->count - found->begin, common = completion_common(found);
    if (found->count == 0 || common < typed) return LEAT_OK;
    if (found->count > 1 && common == typed) return show_words(e, found, error);
    TRY(insert(e, strbuf_text(&found->words) + typed, common - typed, error));
    return found->count == 1 && found->adds_space ? insert(e, " ", 1, error) : LEAT_OK;
}

static leat_status complete(line_editor *e, leat_error *error)
{
    completion found = {.words = {.ledger = e->screen.ledger}};
    if (!e->hooks.complete || e->text->count == 0 || e->cursor != e->text->count) return LEAT_OK;
    leat_status status = e->hooks.complete(e->hooks.user, strbuf_text(e->text), &found, error);
    if (status == LEAT_OK) status = apply_completion(e, &found, error);
    completion_reset(&found);
    return status;
}

/* ---- keys ----------------------------------------------------------------------------------------------------- */

/* The terminal has folded the rows anew, so the prompt stands elsewhere above the cursor. */
static leat_status find_cursor_row(line_editor *e, leat_error *error)
{
    place cursor = {0, 0}, end = {0, 0};
    strbuf_cut(&e->screen, 0);
    TRY(draw_text(e, terminal_columns(), &cursor, &end, error));
    e->cursor_row = cursor.row;
    return LEAT_OK;
}

static leat_status take_event(line_editor *e, terminal_event event, leat_error *error)
{
    switch (event) {
    case TERMINAL_SAME: return LEAT_OK;
    case TERMINAL_RESIZED: TRY(find_cursor_row(e, error)); break;
    case TERMINAL_STOP:
        terminal_suspend();
        e->cursor_row = 0;
        break;
    case TERMINAL_CONTINUED: e->cursor_row = 0; break;
    }
    return draw(e, error);
}

/* Waits for a byte, and for what else may happen to somebody who waits. A signal that comes between a look and the wait
 * is seen at the next look, after a second. */
static leat_status read_key(line_editor *e, int *out_key, leat_error *error)
{
    unsigned char byte;
    for (;;) {
        struct pollfd waiting = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&waiting, 1, IDLE_MS);
        *out_key = KEY_INTERRUPTED;
        if (signals_arrived() != 0) return LEAT_OK;
        if (ready > 0) break;
        if (ready < 0 && errno != EINTR) break;
        TRY(take_event(e, terminal_next_event(), error));
        if (ready == 0 && e->hooks.idle) e->hooks.idle(e->hooks.user);
    }
    ssize_t count = read(STDIN_FILENO, &byte, 1);
    *out_key = count == 1 ? byte : count < 0 && errno == EINTR ? KEY_INTERRUPTED : KEY_EOF;
    return LEAT_OK;
}

/* The rest of an escape sequence follows at once; a lone Escape is not followed by anything. */
static leat_status read_key_soon(line_editor *e, int *out_key, leat_error *error)
{
    struct pollfd waiting = {.fd = STDIN_FILENO, .events = POLLIN};
    *out_key = KEY_NONE;
    return poll(&waiting, 1, ESCAPE_PATIENCE_MS) == 1 ? read_key(e, out_key, error) : LEAT_OK;
}

/* Text from outside: line ends become \n, tabs spaces, other control characters are dropped. */
static leat_status insert_pasted(line_editor *e, const strbuf *pasted, leat_error *error)
{
    size_t length;
    for (size_t i = 0; i < pasted->count; i += length) {
        uint32_t scalar = 0;
        char c = pasted->bytes[i];
        length = utf8_decode(pasted->bytes + i, pasted->count - i, &scalar, NULL); /* all of it is valid */
        bool is_crlf = c == '\r' && i + 1 < pasted->count && pasted->bytes[i + 1] == '\n';
        if (is_crlf) continue;
        if (c == '\r' || c == '\n')
            TRY(insert(e, "\n", 1, error));
        else if (c == '\t')
            TRY(insert(e, "    ", 4, error));
        else if (!terminal_is_control(scalar))
            TRY(insert(e, pasted->bytes + i, length, error));
    }
    return LEAT_OK;
}

static leat_status read_paste(line_editor *e, leat_error *error)
{
    static const char end[] = "\033[201~";
    strbuf pasted = {.ledger = e->screen.ledger};
    leat_status status = LEAT_OK;
    while (status == LEAT_OK) {
        int key;
        status = read_key(e, &key, error);
        if (status != LEAT_OK || key >= KEY_EOF) break;
        char byte = (char)key;
        status = strbuf_append(&pasted, &byte, 1, error);
        if (pasted.count >= sizeof end - 1 &&
            memcmp(pasted.bytes + pasted.count - (sizeof end - 1), end, sizeof end - 1) == 0) {
            strbuf_cut(&pasted, pasted.count - (sizeof end - 1));
            break;
        }
    }
    size_t valid = utf8_valid_bytes(strbuf_text(&pasted), pasted.count);
    strbuf_cut(&pasted, valid);
    if (status == LEAT_OK) status = insert_pasted(e, &pasted, error);
    strbuf_reset(&pasted);
    return status;
}

static leat_status apply_sequence(line_editor *e, const char *parameters, char final, leat_error *error)
{
    bool is_word = strcmp(parameters, "1;5") == 0 || strcmp(parameters, "1;3") == 0;
    if (final == '~') {
        if (strcmp(parameters, "200") == 0) return read_paste(e, error);
        if (strcmp(parameters, "1") == 0 || strcmp(parameters, "7") == 0) e->cursor = line_begin(e);
        if (strcmp(parameters, "4") == 0 || strcmp(parameters, "8") == 0) e->cursor = line_end(e);
        if (strcmp(parameters, "3") == 0) erase(e, e->cursor, next_character(e, e->cursor));
        return LEAT_OK;
    }
    switch (final) {
    case 'A': return show_past(e, true, error);
    case 'B': return show_past(e, false, error);
    case 'C': e->cursor = is_word ? next_word(e) : next_character(e, e->cursor); break;
    case 'D': e->cursor = is_word ? previous_word(e) : previous_character(e, e->cursor); break;
    case 'H': e->cursor = line_begin(e); break;
    case 'F': e->cursor = line_end(e); break;
    default: break;
    }
    return LEAT_OK;
}

/* CSI (ESC [) with parameters and a final byte, SS3 (ESC O) with a final byte, or Alt and a key. */
static leat_status read_escape(line_editor *e, leat_error *error)
{
    char parameters[SEQUENCE_BYTES];
    size_t count = 0;
    int key;
    TRY(read_key_soon(e, &key, error));
    switch (key) {
    case '[':
    case 'O':
        TRY(read_key_soon(e, &key, error));
        while (key >= 0x20 && key < 0x40 && count + 1 < sizeof parameters) {
            parameters[count++] = (char)key;
            TRY(read_key_soon(e, &key, error));
        }
        parameters[count] = '\0';
        return key < 0x80 ? apply_sequence(e, parameters, (char)key, error) : LEAT_OK;
    case 'b': e->cursor = previous_word(e); return LEAT_OK;
    case 'f': e->cursor = next_word(e); return LEAT_OK;
    case 'd': return cut_out(e, e->cursor, next_word(e), error);
    case 0x7f: return cut_out(e, previous_word(e), e->cursor, error);
    case '\r':
    case '\n': return insert(e, "\n", 1, error);
    default: return LEAT_OK;
    }
}

static leat_status read_character(line_editor *e, int first, leat_error *error)
{
    char bytes[4] = {(char)first};
    size_t count = 1, want = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    for (; count < want; count++) {
        int key;
        TRY(read_key(e, &key, error));
        if (key >= KEY_EOF) return LEAT_OK;
        bytes[count] = (char)key;
    }
    uint32_t scalar;
    if (utf8_decode(bytes, count, &scalar, NULL) != count || terminal_is_control(scalar)) return LEAT_OK;
    return insert(e, bytes, count, error);
}

static leat_status clear_screen(line_editor *e)
{
    static const char clear[] = "\033[H\033[2J";
    ssize_t ignored = write(STDOUT_FILENO, clear, sizeof clear - 1);
    (void)ignored;
    e->cursor_row = 0;
    return LEAT_OK;
}

/* A failed editor leaves the text as it was, and what it was is said above it. */
static leat_status edit_outside(line_editor *e, leat_error *error)
{
    leat_error refused = {0};
    terminal_restore();
    leat_status status = external_editor_run(e->text, &refused);
    terminal_set_raw();
    TRY(clear_screen(e));
    e->cursor = status == LEAT_OK ? e->text->count : e->cursor;
    if (status == LEAT_OK) return LEAT_OK;
    strbuf_cut(&e->screen, 0);
    TRY(strbuf_append_text(&e->screen, refused.text, error));
    TRY(strbuf_append_text(&e->screen, "\r\n", error));
    send_screen(e);
    return LEAT_OK;
}

/* Keys that change the text or the cursor; those that end the question are in read_keys. */
static leat_status apply_key(line_editor *e, int key, leat_error *error)
{
    switch (key) {
    case CTRL('A'): e->cursor = line_begin(e); return LEAT_OK;
    case CTRL('B'): e->cursor = previous_character(e, e->cursor); return LEAT_OK;
    case CTRL('D'): erase(e, e->cursor, next_character(e, e->cursor)); return LEAT_OK;
    case CTRL('E'): e->cursor = line_end(e); return LEAT_OK;
    case CTRL('F'): e->cursor = next_character(e, e->cursor); return LEAT_OK;
    case CTRL('G'): return edit_outside(e, error);
    case CTRL('H'):
    case 0x7f: erase(e, previous_character(e, e->cursor), e->cursor); return LEAT_OK;
    case CTRL('I'): return complete(e, error);
    case CTRL('K'): return cut_out(e, e->cursor, line_end(e), error);
    case CTRL('L'): return clear_screen(e);
    case CTRL('N'): return show_past(e, false, error);
    case CTRL('P'): return show_past(e, true, error);
    case CTRL('U'): return cut_out(e, line_begin(e), e->cursor, error);
    case CTRL('W'): return cut_out(e, previous_word(e), e->cursor, error);
    case CTRL('Y'): return insert(e, strbuf_text(&e->killed), e->killed.count, error);
    case CTRL('Z'):
        terminal_suspend();
        e->cursor_row = 0;
        return LEAT_OK;
    case ESCAPE: return read_escape(e, error);
    default: return key >= 0x20 ? read_character(e, key, error) : LEAT_OK;
    }
}

static leat_status read_keys(line_editor *e, edit_end *out_end, leat_error *error)
{
    for (;;) {
        TRY(draw(e, error));
        int key;
        TRY(read_key(e, &key, error));
        if (key == KEY_INTERRUPTED && signals_want_end()) return FAIL(error, CANCELLED, "terminated");
        if (key == KEY_INTERRUPTED && signals_arrived() == 0) continue;
        if (key == '\r' || key == '\n') {
            *out_end = EDIT_LINE;
            return leave(e, "", error);
        }
        if (key == KEY_EOF || (key == CTRL('D') && e->text->count == 0)) {
            *out_end = EDIT_EOF;
            return leave(e, "", error);
        }
        if (key == CTRL('C') || key == KEY_INTERRUPTED) {
            *out_end = e->text->count > 0 ? EDIT_CLEARED : EDIT_REFUSED;
            signals_forget();
            return leave(e, "^C", error);
        }
        TRY(apply_key(e, key, error));
    }
}

leat_status line_editor_read(line_editor *e, const char *prompt, const char *continuation, strbuf *text,
                             edit_end *out_end, leat_error *error)
{
    strbuf_cut(text, 0);
    e->prompt = prompt;
    e->continuation = continuation;
    e->text = text;
    e->cursor = 0;
    e->cursor_row = 0;
    e->past_idx = e->past->count;
    if (!terminal_set_raw()) return FAIL(error, IO, "the terminal cannot be set up for editing");
    leat_status status = read_keys(e, out_end, error);
    terminal_restore();
    if (status == LEAT_OK && *out_end == EDIT_CLEARED) strbuf_cut(text, 0);
    return status;
}
