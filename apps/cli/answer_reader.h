/*
 * answer_reader.h - an answer while it comes: what the model thinks, says and calls is told apart, kept apart, and what
 * belongs on the screen is shown.
 *
 * Standard output carries the answer. Thoughts are for who watches: dim on a terminal with colours, between two marks
 * on one without, nowhere else unless they are asked for.
 *
 * Threads: the main thread.
 */
#ifndef CLI_ANSWER_READER_H
#define CLI_ANSWER_READER_H

#include "cli.h"

/* How the answer to a prompt is to be read. */
enum { ANSWER_PROMPT_END_BYTES = 256 };
typedef struct answer_source {
    const char *format; /* leat_chat_info's; NULL: all of it is text */
    strbuf request;     /* a JSON object with the tools; "": there are none */
    char prompt_end[ANSWER_PROMPT_END_BYTES];
    size_t prompt_end_bytes;
} answer_source;

/* What was read. Zeroed with its ledgers set, then filled. */
typedef struct answer_parts {
    strbuf content, reasoning;
    strbuf calls; /* JSON objects with commas between them, as a message's "tool_calls" lists them */
    uint32_t call_count;
} answer_parts;

void answer_parts_init(answer_parts *parts, mem *ledger);
void answer_parts_reset(answer_parts *parts);

typedef enum thought_display {
    THOUGHT_HIDDEN,
    THOUGHT_DIM,   /* in the terminal's faint letters */
    THOUGHT_MARKED /* between two lines in brackets */
} thought_display;
/* What the options ask for on this output. */
thought_display answer_thought_display(const cli_options *options, const output *out);

typedef struct answer_reader {
    leat_answer *parser; /* NULL: all of it is text */
    answer_parts *parts;
    output *out; /* NULL: nothing is shown */
    thought_display display;
    bool is_thinking;
} answer_reader;

/* source: NULL where all is text. parts and out are borrowed until reset. */
MUST_CHECK leat_status answer_reader_open(answer_reader *r, const answer_source *source, thought_display display,
                                          answer_parts *parts, output *out, leat_error *error);
void answer_reader_reset(answer_reader *r);
/* The next bytes that the model wrote, control tokens spelled out. */
MUST_CHECK leat_status answer_reader_push(answer_reader *r, const char *text, size_t bytes, leat_error *error);
/* What was held back. */
MUST_CHECK leat_status answer_reader_finish(answer_reader *r, leat_error *error);

#endif
