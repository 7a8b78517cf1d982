/*
 * answer_format.h - what is known of a family's way to write, as data: a row of answer_format.c. Only the parser reads
 * it.
 */
#ifndef TEXT_ANSWER_ANSWER_FORMAT_H
#define TEXT_ANSWER_ANSWER_FORMAT_H

#include "text/answer/call_reader.h"
#include "text/answer_parser.h"

enum { ANSWER_OPENERS_MAX = 3, ANSWER_WORDS_MAX = 5 };

/* A marker that opens a call. */
typedef struct answer_opener {
    const char *text;
    call_reader *reader;
    const call_shape *shape;
    bool only_first;   /* counts only at the very beginning of the answer */
    bool is_kept;      /* the reader sees it too */
    bool is_structure; /* also without tools */
    bool ends_thought; /* counts inside of a thought too, and ends it */
} answer_opener;

struct answer_format {
    const char *label;
    /* Reasoning; the newlines that belong to the markup: behind the opening mark, before the closing one, behind it. */
    const char *think_open, *think_close;
    uint8_t lead, trail, after;
    uint8_t before_call;    /* newlines between text and a call */
    uint8_t before_end;     /* newlines between text and the mark that ends the turn */
    bool begins_with_space; /* an answer's first space belongs to the prompt's last word */
    const char *think_next; /* what follows a thought's end where the prompt's own turn ends with it */
    /* Around the text behind a thought; without an opening one the thought's end is it. */
    const char *wrap_open, *wrap_close;
    answer_opener openers[ANSWER_OPENERS_MAX];
    const char *drops[ANSWER_WORDS_MAX]; /* marks without a meaning of their own */
    const char *ends[ANSWER_WORDS_MAX];  /* marks that mean nothing at the very end of an answer */
    bool is_harmony;                     /* messages have headers, and marks that are dropped end a thought, too */
    const char *thought_header;          /* of harmony: the end of a prompt that leaves a thought open */
    const char *header; /* what a prompt's end leaves open: an answer begins behind what openers[0] opens */
    const char *prefix_head, *prefix_tail; /* around the name, to open a call */
    const char *prefix_again;              /* between the name and the name again, where it is written twice */
};

/* Whether a prompt ends with an opened thought, but for newlines, which are counted. */
bool answer_format_leaves_thought(const answer_format *format, const char *prompt, uint64_t count,
                                  uint32_t *out_newlines);
/* Whether a text ends with another. */
bool answer_ends_with(const char *text, uint64_t count, const char *end);

#endif
