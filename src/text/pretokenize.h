/*
 * pretokenize.h - cuts a normalised text into the words that byte-pair encoding works on.
 *
 * The steps of a file run depth first: a piece that a step cuts off goes through all later steps before the next one is
 * looked for, so that memory is needed for the longest piece only, not for lists of pieces.
 *
 * Threads: steps are constant after loading; each thread cuts with a scratch of its own.
 */
#ifndef TEXT_PRETOKENIZE_H
#define TEXT_PRETOKENIZE_H

#include "text/normalize.h"

typedef enum pretokenize_kind {
    PRETOKENIZE_SPLIT,        /* at occurrences of `pattern` or matches of `expression` */
    PRETOKENIZE_SPLIT_CLASS,  /* at characters for which `is_cut` holds */
    PRETOKENIZE_WORDS,        /* into runs of word characters and runs of others; white space vanishes */
    PRETOKENIZE_SCRIPTS,      /* where the script changes; what has none before the first that has one vanishes */
    PRETOKENIZE_FIXED_LENGTH, /* into pieces of `length` characters */
    PRETOKENIZE_BYTE_LEVEL, /* bytes become characters; before that perhaps a space in front, and a cut by `expression`
                             */
    PRETOKENIZE_METASPACE,  /* spaces become `pattern`; perhaps one more in front, and a cut before each */
} pretokenize_kind;

/* What happens to the matches of a split. */
typedef enum split_behaviour {
    SPLIT_ISOLATED,             /* each is a piece */
    SPLIT_REMOVED,              /* they vanish */
    SPLIT_MERGED_WITH_PREVIOUS, /* joined to the gap on the left */
    SPLIT_MERGED_WITH_NEXT,     /* joined to the gap on the right */
    SPLIT_CONTIGUOUS,           /* neighbours are joined to one piece */
} split_behaviour;

typedef enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;

typedef struct pretokenize_step {
    pretokenize_kind kind;
    text_slice pattern;
    regex *expression;    /* or NULL; owned by the tokenizer */
    bool is_space_at_end; /* the expression is \\s+$, which is looked for by hand: a regular expression reads a run of
                             white space to its end from each of its characters */
    bool (*is_cut)(uint32_t scalar);
    uint32_t length; /* FIXED_LENGTH */
    split_behaviour behaviour;
    bool invert;            /* matches and gaps change places */
    bool prefix_space;      /* BYTE_LEVEL: every piece begins with a space */
    bool split;             /* METASPACE */
    prepend_scheme prepend; /* METASPACE */
} pretokenize_step;

typedef leat_status word_sink(void *user, const char *word, uint64_t bytes, leat_error *error);

typedef struct pretokenize_scratch {
    text_buffer buffers[TEXT_STEPS_MAX][2];
    regex_scratch *matches; /* borrowed */
    uint64_t steps;         /* bytes given to steps, and those that a scan went over again */
} pretokenize_scratch;

void pretokenize_scratch_init(pretokenize_scratch *scratch, mem *ledger, regex_scratch *matches);
void pretokenize_scratch_reset(pretokenize_scratch *scratch);

/* Hands every word to `sink`, in order; none is empty. `front`: how many bytes of the text come of the first character
 * of the whole text (normalize.h). */
MUST_CHECK leat_status pretokenize_run(const pretokenize_step *steps, uint32_t count, pretokenize_scratch *scratch,
                                       text_slice text, uint64_t front, word_sink *sink, void *user, leat_error *error);

#endif
