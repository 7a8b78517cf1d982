#include "format/excerpt.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static bool continues_character(char byte) { return ((unsigned char)byte & 0xc0) == 0x80; }

void excerpt_text(const char *text, size_t length, char *out, size_t out_bytes)
{
    assert(out_bytes >= 8);
    static const char ellipsis[] = "...", nul[] = "\\x00";
    size_t room = out_bytes - sizeof ellipsis, used = 0, idx = 0;
    while (idx < length) {
        size_t character = 1;
        while (idx + character < length && character < 4 && continues_character(text[idx + character])) character++;
        size_t needed = text[idx] == '\0' ? sizeof nul - 1 : character;
        if (used + needed > room) {
            memcpy(out + used, ellipsis, sizeof ellipsis);
            return;
        }
        memcpy(out + used, text[idx] == '\0' ? nul : text + idx, needed);
        used += needed;
        idx += text[idx] == '\0' ? 1 : character;
    }
    out[used] = '\0';
}
