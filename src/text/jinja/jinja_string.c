/*
 * jinja_string.c - strings whose bytes remember where they came from.
 *
 * Most strings are of one origin and carry a flag. Where origins meet, a mask says it byte by byte; slices share the
 * bytes and the mask of what they were cut from.
 */
#include "text/jinja/jinja_value.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <string.h>

/* Results at least this long get room to grow. */
enum { GROWING_BYTES = 256 };

static leat_status new_header(jinja_env *env, jinja_string init, jinja_value *out)
{
    jinja_string *s;
    TRY(JINJA_NEW(env, 1, &s));
    *s = init;
    *out = jinja_of_string(s);
    return LEAT_OK;
}

leat_status jinja_new_string(jinja_env *env, const char *bytes, uint64_t count, bool is_data, jinja_value *out)
{
    char *copy;
    TRY(jinja_charge_bytes(env, count));
    TRY(jinja_alloc(env, count, 1, &copy));
    if (count > 0) memcpy(copy, bytes, count);
    TRY(new_header(env, (jinja_string){.bytes = copy, .count = count, .is_data = is_data}, out));
    jinja_char_count(out->string); /* now, because constants of a template may be read by several threads */
    return LEAT_OK;
}

leat_status jinja_literal(jinja_env *env, const char *text, jinja_value *out)
{
    return new_header(env, (jinja_string){.bytes = text, .count = strlen(text)}, out);
}

static bool mask_is_uniform(const uint8_t *mask, uint64_t count)
{
    return count == 0 || memcmp(mask, mask + 1, count - 1) == 0;
}

leat_status jinja_substring(jinja_env *env, const jinja_string *s, uint64_t begin, uint64_t end, jinja_value *out)
{
    jinja_string part = {.bytes = s->bytes + begin, .count = end - begin, .is_markup = s->is_markup};
    part.is_data = s->is_data;
    if (s->mask != NULL && part.count > 0) {
        part.mask = s->mask + begin;
        TRY(jinja_charge(env, part.count / 256));
        if (mask_is_uniform(part.mask, part.count)) {
            part.is_data = part.mask[0] != 0;
            part.mask = NULL;
        }
    }
    if (end == s->count) part.buffer = s->buffer;
    return new_header(env, part, out);
}

bool jinja_string_has_data(const jinja_string *s)
{
    return s->mask != NULL ? memchr(s->mask, 1, s->count) != NULL : s->is_data && s->count > 0;
}

uint64_t jinja_char_count(jinja_string *s)
{
    if (!s->is_counted) {
        s->char_count = 0;
        for (uint64_t i = 0; i < s->count; i++) s->char_count += ((uint8_t)s->bytes[i] & 0xc0) != 0x80;
        s->is_counted = true;
    }
    return s->char_count;
}

uint64_t jinja_char_offset(jinja_string *s, uint64_t index)
{
    uint64_t count = jinja_char_count(s), at = 0;
    if (count == s->count) return index; /* one byte each */
    if (index >= count) return s->count;
    while (index > 0) {
        at++;
        while (((uint8_t)s->bytes[at] & 0xc0) == 0x80) at++;
        index--;
    }
    return at;
}

bool jinja_string_is(const jinja_string *s, const char *text)
{
    return s->count == strlen(text) && memcmp(s->bytes, text, s->count) == 0;
}

bool jinja_same_bytes(const jinja_string *a, const jinja_string *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->bytes, b->bytes, a->count) == 0);
}

uint32_t jinja_char_at(const jinja_string *s, uint64_t at, uint64_t *out_next)
{
    uint32_t scalar = 0xfffd;
    size_t bytes = utf8_decode(s->bytes + at, s->count - at, &scalar, NULL);
    *out_next = at + (bytes > 0 ? bytes : 1);
    return scalar;
}

/* ---- building ---- */

jinja_builder jinja_build(jinja_env *env) { return (jinja_builder){.env = env}; }

static leat_status make_room(jinja_builder *b, uint64_t more)
{
    uint64_t needed;
    if (!size_add(b->count, more, &needed)) needed = UINT64_MAX;
    if (needed > b->env->limits->output_bytes_max) return jinja_charge_bytes(b->env, needed);
    if (needed <= b->capacity) return LEAT_OK;
    uint64_t capacity = max_u64(max_u64(64, needed), 2 * b->capacity);
    char *bytes;
    TRY(jinja_alloc(b->env, capacity, 1, &bytes));
    if (b->count > 0) memcpy(bytes, b->bytes, b->count);
    if (b->mask != NULL) {
        uint8_t *mask;
        TRY(jinja_alloc(b->env, capacity, 1, &mask));
        memcpy(mask, b->mask, b->count);
        b->mask = mask;
    }
    b->bytes = bytes;
    b->capacity = capacity;
    return LEAT_OK;
}

static leat_status need_mask(jinja_builder *b)
{
    if (b->mask != NULL) return LEAT_OK;
    TRY(jinja_alloc(b->env, b->capacity, 1, &b->mask));
    memset(b->mask, b->is_data, b->count);
    return LEAT_OK;
}

static leat_status add(jinja_builder *b, const char *bytes, uint64_t count, const uint8_t *mask, bool is_data)
{
    if (count == 0) return LEAT_OK;
    TRY(jinja_charge_bytes(b->env, count));
    TRY(make_room(b, count));
    if (b->count == 0 && mask == NULL && b->mask == NULL) b->is_data = is_data;
    if (mask != NULL || b->mask != NULL || is_data != b->is_data) {
        TRY(need_mask(b));
        if (mask != NULL)
            memcpy(b->mask + b->count, mask, count);
        else
            memset(b->mask + b->count, is_data, count);
    }
    memcpy(b->bytes + b->count, bytes, count);
    b->count += count;
    return LEAT_OK;
}

leat_status jinja_append_part(jinja_builder *b, const jinja_string *s, uint64_t begin, uint64_t end)
{
    return add(b, s->bytes + begin, end - begin, s->mask != NULL ? s->mask + begin : NULL, s->is_data);
}

leat_status jinja_append(jinja_builder *b, const jinja_string *s) { return jinja_append_part(b, s, 0, s->count); }

leat_status jinja_append_bytes(jinja_builder *b, const char *bytes, uint64_t count, bool is_data)
{
    return add(b, bytes, count, NULL, is_data);
}

leat_status jinja_append_text(jinja_builder *b, const char *text) { return add(b, text, strlen(text), NULL, false); }

leat_status jinja_append_fill(jinja_builder *b, const jinja_string *s, uint64_t times)
{
    uint64_t bytes;
    if (!size_mul(s->count, times, &bytes)) bytes = UINT64_MAX;
    TRY(jinja_charge_bytes(b->env, bytes));
    if (s->count == 0) return LEAT_OK;
    TRY(make_room(b, bytes));
    for (uint64_t i = 0; i < times; i++) TRY(jinja_append(b, s));
    return LEAT_OK;
}

leat_status jinja_append_scalar(jinja_builder *b, uint32_t scalar, bool is_data)
{
    char bytes[4];
    return add(b, bytes, utf8_encode(scalar, bytes), NULL, is_data);
}

leat_status jinja_finish(jinja_builder *b, jinja_value *out)
{
    jinja_string s = {.bytes = b->count > 0 ? b->bytes : "", .count = b->count, .is_data = b->is_data, .mask = b->mask};
    if (b->count >= GROWING_BYTES) {
        TRY(JINJA_NEW(b->env, 1, &s.buffer));
        *s.buffer = (jinja_buffer){.bytes = b->bytes, .mask = b->mask, .used = b->count, .capacity = b->capacity};
    }
    return new_header(b->env, s, out);
}

/* ---- concatenation ---- */

/* Appends b behind a where a ends its buffer and nothing else has grown into it. */
static leat_status grow_in_place(jinja_env *env, const jinja_string *a, const jinja_string *b, bool *out_done,
                                 jinja_value *out)
{
    jinja_buffer *buffer = a->buffer;
    *out_done = buffer != NULL && a->bytes + a->count == buffer->bytes + buffer->used &&
                buffer->capacity - buffer->used >= b->count;
    if (!*out_done) return LEAT_OK;
    TRY(jinja_charge_bytes(env, b->count));
    uint64_t begin = (uint64_t)(a->bytes - buffer->bytes);
    bool is_mixed = a->mask != NULL || b->mask != NULL || a->is_data != b->is_data;
    if (is_mixed && buffer->mask == NULL) TRY(jinja_alloc(env, buffer->capacity, 1, &buffer->mask));
    if (is_mixed && a->mask == NULL) memset(buffer->mask + begin, a->is_data, a->count);
    if (buffer->mask != NULL) {
        if (b->mask != NULL)
            memcpy(buffer->mask + buffer->used, b->mask, b->count);
        else
            memset(buffer->mask + buffer->used, b->is_data, b->count);
    }
    memcpy(buffer->bytes + buffer->used, b->bytes, b->count);
    buffer->used += b->count;
    jinja_string s = {.bytes = a->bytes, .count = a->count + b->count, .is_data = a->is_data, .buffer = buffer};
    if (is_mixed) s.mask = buffer->mask + begin;
    return new_header(env, s, out);
}

leat_status jinja_concat(jinja_env *env, const jinja_string *a, const jinja_string *b, jinja_value *out)
{
    bool is_done;
    *out = jinja_of_string(a->count == 0 ? b : a);
    if (a->count == 0 || b->count == 0) return LEAT_OK;
    if (a->count + b->count > env->limits->output_bytes_max) return jinja_charge_bytes(env, a->count + b->count);
    TRY(grow_in_place(env, a, b, &is_done, out));
    if (is_done) return LEAT_OK;
    jinja_builder whole = jinja_build(env);
    uint64_t total = a->count + b->count;
    TRY(make_room(&whole, total < GROWING_BYTES                       ? total
                          : 2 * total > env->limits->output_bytes_max ? total
                                                                      : 2 * total));
    TRY(jinja_append(&whole, a));
    TRY(jinja_append(&whole, b));
    return jinja_finish(&whole, out);
}
