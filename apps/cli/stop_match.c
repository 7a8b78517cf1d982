#include "stop_match.h"

#include <string.h>

/* The first byte of the earliest whole stop string, or `count`. */
static size_t find_stop(const stop_texts *stops, const char *text, size_t count)
{
    size_t first = count;
    for (uint32_t i = 0; i < stops->count; i++) {
        const char *at = memmem(text, count, stops->items[i], strlen(stops->items[i]));
        if (at && (size_t)(at - text) < first) first = (size_t)(at - text);
    }
    return first;
}

/* How many bytes at the end are the beginning of a stop string. */
static size_t count_undecided(const stop_texts *stops, const char *text, size_t count)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < stops->count; i++) {
        size_t length = strlen(stops->items[i]) - 1;
        if (length > count) length = count;
        while (length > longest && memcmp(text + count - length, stops->items[i], length) != 0) length--;
        if (length > longest) longest = length;
    }
    return longest;
}

static leat_status release(stop_match *m, size_t count, strbuf *ready, leat_error *error)
{
    TRY(strbuf_append(ready, strbuf_text(&m->held), count, error));
    strbuf_drop_front(&m->held, count);
    return LEAT_OK;
}

leat_status stop_match_push(stop_match *m, const stop_texts *stops, const char *text, size_t bytes, strbuf *ready,
                            bool *out_is_stopped, leat_error *error)
{
    TRY(strbuf_append(&m->held, text, bytes, error));
    const char *held = strbuf_text(&m->held);
    size_t count = m->held.count, stop = find_stop(stops, held, count);
    *out_is_stopped = stop < count;
    if (*out_is_stopped) {
        TRY(release(m, stop, ready, error));
        strbuf_cut(&m->held, 0);
        return LEAT_OK;
    }
    return release(m, count - count_undecided(stops, held, count), ready, error);
}

leat_status stop_match_finish(stop_match *m, strbuf *ready, leat_error *error)
{
    return release(m, m->held.count, ready, error);
}
