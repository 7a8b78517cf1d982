/* replace.c - see the header. */
#include "text/replace.h"

#include <string.h>

static uint64_t next_character(text_slice text, uint64_t at)
{
    do at++;
    while (at < text.count && ((unsigned char)text.bytes[at] & 0xc0) == 0x80);
    return at;
}

static leat_status put_between(text_slice text, text_slice content, text_buffer *out, leat_error *error)
{
    for (uint64_t at = 0, end; at < text.count; at = end) {
        end = next_character(text, at);
        TRY(text_buffer_append(out, content.bytes, content.count, error));
        TRY(text_buffer_append(out, text.bytes + at, end - at, error));
    }
    return text_buffer_append(out, content.bytes, content.count, error);
}

leat_status replace_text(text_slice text, text_slice pattern, text_slice content, text_buffer *out, leat_error *error)
{
    uint64_t done = 0;
    if (pattern.count == 0) return put_between(text, content, out, error);
    while (text.count - done >= pattern.count) {
        const bool is_here = memcmp(text.bytes + done, pattern.bytes, pattern.count) == 0;
        const char *found =
            is_here ? text.bytes + done : memmem(text.bytes + done, text.count - done, pattern.bytes, pattern.count);
        if (found == NULL) break;
        uint64_t start = (uint64_t)(found - text.bytes);
        TRY(text_buffer_append(out, text.bytes + done, start - done, error));
        TRY(text_buffer_append(out, content.bytes, content.count, error));
        done = start + pattern.count;
    }
    return text_buffer_append(out, text.bytes + done, text.count - done, error);
}

leat_status replace_matches(const regex *expression, regex_scratch *matches, text_slice text, text_slice content,
                            text_buffer *out, leat_error *error)
{
    uint64_t done = 0, from = 0, start, end;
    bool has_match = false;
    regex_announce(matches, text.count);
    while (text.count > 0 && from <= text.count) {
        TRY(regex_find(expression, matches, text.bytes, text.count, from, &start, &end, error));
        if (start == UINT64_MAX) break;
        from = start == end ? next_character(text, end) : end;
        if (start == end && has_match && start == done) continue;
        TRY(text_buffer_append(out, text.bytes + done, start - done, error));
        TRY(text_buffer_append(out, content.bytes, content.count, error));
        done = end;
        has_match = true;
    }
    return text_buffer_append(out, text.bytes + done, text.count - done, error);
}
