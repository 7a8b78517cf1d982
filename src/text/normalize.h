/*
 * normalize.h - what a tokenizer does to a text before it is cut: a list of steps, each from one buffer into another.
 *
 * Threads: steps are constant after loading; each thread normalises with a scratch of its own.
 */
#ifndef TEXT_NORMALIZE_H
#define TEXT_NORMALIZE_H

#include "text/character_map.h"
#include "text/regex.h"
#include "text/tokenizer.h"

enum { TEXT_STEPS_MAX = 16 }; /* of one kind, in one file */

typedef enum normalize_kind {
    NORMALIZE_REPLACE,       /* every occurrence of `pattern` (or match of `expression`) by `content` */
    NORMALIZE_PREPEND,       /* `content` before a text that is not empty */
    NORMALIZE_STRIP,         /* white space at the ends */
    NORMALIZE_UNICODE,       /* one of the Unicode normalisation forms */
    NORMALIZE_BYTE_LEVEL,    /* bytes become characters of the byte alphabet */
    NORMALIZE_MAP,           /* every character by itself, as `map` says */
    NORMALIZE_PRECOMPILED,   /* by the table `characters` */
    NORMALIZE_SENTENCEPIECE, /* as `rules` say */
} normalize_kind;

typedef struct normalize_step {
    normalize_kind kind;
    text_slice pattern, content;
    regex *expression; /* or NULL; owned by the tokenizer */
    bool strip_left, strip_right;
    bool compose, compatible; /* NFC and NFKC compose, NFKC and NFKD are compatible */
    character_map *map;
    const struct charsmap *characters; /* normalize_pieces.h; owned by the tokenizer, as are the rules */
    const struct sentencepiece_rules *rules;
} normalize_step;

typedef struct normalize_scratch {
    mem *ledger;
    text_buffer buffers[2];
    text_buffer front; /* what becomes of the front */
    int32_t *scalars;  /* (scalar_capacity) of one stretch that is being normalised */
    uint64_t scalar_count, scalar_capacity;
    regex_scratch *matches; /* borrowed */
    uint64_t steps;         /* bytes given to steps, and characters to the Unicode library */
} normalize_scratch;

void normalize_scratch_init(normalize_scratch *scratch, mem *ledger, regex_scratch *matches);
void normalize_scratch_reset(normalize_scratch *scratch);

/* *out_text is valid until the next call with the same scratch; it is `text` itself where there is nothing to do.
 * `front`: how many bytes of the text are the first character of the whole text (0: it begins behind that), and then
 * how many bytes of the result came of it. A word that begins among them is the first. */
MUST_CHECK leat_status normalize_run(const normalize_step *steps, uint32_t count, normalize_scratch *scratch,
                                     text_slice text, uint64_t *front, text_slice *out_text, leat_error *error);

#endif
