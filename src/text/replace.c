/* replace.c - see the header. */
#include "text/replace.h"

#include <string.h>

static uint64_t next_character(text_slice text, uint64_t at)
{
    do at++;
    while (at < text.count && ((unsigned char)text.bytes[at] & 0xc0) == 0x80);
    return at;
}

/* Where the result begins, and what has been made of the first `done` bytes of the text. */
typedef struct progress {
    uint64_t *front;
    uint64_t base, done;
    bool front_is_known;
} progress;

/* The text up to a match has been written. */
static void see_match(progress *p, const text_buffer *out, uint64_t start, uint64_t end)
{
    if (p->front != NULL && !p->front_is_known && end > *p->front) {
        *p->front = out->count - p->base - (start > *p->front ? start - *p->front : 0);
        p->front_is_known = true;
    }
    p->done = end;
}

static leat_status put_rest(progress *p, text_slice text, text_buffer *out, leat_error *error)
{
    if (p->front != NULL && !p->front_is_known) *p->front = out->count - p->base + (*p->front - p->done);
    return text_buffer_append(out, text.bytes + p->done, text.count - p->done, error);
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

leat_status replace_text(text_slice text, text_slice pattern, text_slice content, uint64_t *front, text_buffer *out,
                         leat_error *error)
{
    progress p = {.front = front, .base = out->count};
    if (pattern.count == 0) return put_between(text, content, out, error);
    while (text.count - p.done >= pattern.count) {
        const bool is_here = memcmp(text.bytes + p.done, pattern.bytes, pattern.count) == 0;
        const char *found = is_here ? text.bytes + p.done
                                    : memmem(text.bytes + p.done, text.count - p.done, pattern.bytes, pattern.count);
        if (found == NULL) break;
        uint64_t start = (uint64_t)(found - text.bytes);
        TRY(text_buffer_append(out, text.bytes + p.done, start - p.done, error));
        see_match(&p, out, start, start + pattern.count);
        TRY(text_buffer_append(out, content.bytes, content.count, error));
    }
    return put_rest(&p, text, out, error);
}

leat_status replace_matches(const regex *expression, regex_scratch *matches, text_slice text, text_slice content,
                            uint64_t *front, text_buffer *out, leat_error *error)
{
    uint64_t from = 0, start, end;
    progress p = {.front = front, .base = out->count};
    bool has_match = false;
    regex_announce(matches, text.count);
    while (text.count > 0 && from <= text.count) {
        TRY(regex_find(expression, matches, text.bytes, text.count, from, &start, &end, error));
        if (start == UINT64_MAX) break;
        from = start == end ? next_character(text, end) : end;
        if (start == end && has_match && start == p.done) continue;
        TRY(text_buffer_append(out, text.bytes + p.done, start - p.done, error));
        see_match(&p, out, start, end);
        TRY(text_buffer_append(out, content.bytes, content.count, error));
        has_match = true;
    }
    return put_rest(&p, text, out, error);
}
