/*
 * answer_parser.h - reads what a model writes: plain text, reasoning and tool calls, while it comes.
 *
 * A format is a row of facts about a family of models, chosen by what the family's chat template mentions
 * (answer_format_find). A parser is one answer being read:
 *
 *              <think>                    </think>
 *     TEXT -------------> REASONING -----------------> TEXT
 *       |  <tool_call>                complete, or no call after all
 *       +-------------> CALL -------------------------> TEXT
 *
 * Text and reasoning are handed on as soon as they cannot be the beginning of a marker; only whole characters. A call
 * is handed on when it is complete. What looked like a call and is none comes out as text, as it was written; so does a
 * call that the answer's end cuts off. White space that belongs to the markup is dropped, so that the template writes
 * the same bytes again. The events do not depend on how the text was cut into pieces.
 *
 * Invariants: every byte that is pushed is handed on or is markup. Memory is bounded by ANSWER_CALL_BYTES_MAX and a few
 * times that; time is linear in the text.
 *
 * Threads: formats are constant; a parser belongs to one thread at a time.
 */
#ifndef TEXT_ANSWER_PARSER_H
#define TEXT_ANSWER_PARSER_H

#include "text/tokenizer.h"

typedef struct answer_format answer_format;

/* Whether the model's template contains `text` in what it writes. */
typedef bool answer_format_probe(void *user, const char *text);
/* Never NULL: what is not known is "generic". */
const answer_format *answer_format_find(answer_format_probe *probe, void *user);
/* NULL for a label that no format has. */
const answer_format *answer_format_by_label(const char *label);
const char *answer_format_label(const answer_format *format);
/* Whether the format has tool calls of its own, and marks for reasoning. */
bool answer_format_has_calls(const answer_format *format);
/* Appends what opens a call of `name` (NULL: up to the name) in this format, to be put behind the prompt and pushed to
 * the parser first. LEAT_USAGE when the format has none. */
MUST_CHECK leat_status answer_format_call_prefix(const answer_format *format, const char *name, text_buffer *out,
                                                 leat_error *error);

/* Appends what closes the thought that the prompt leaves open, as far as a call may follow it: to be put between the
 * prompt and what answer_format_call_prefix gives. Nothing where none is open. */
MUST_CHECK leat_status answer_format_thought_close(const answer_format *format, const char *prompt,
                                                   uint64_t prompt_bytes, text_buffer *out, leat_error *error);

typedef enum answer_kind { ANSWER_TEXT, ANSWER_REASONING, ANSWER_CALL } answer_kind;

typedef struct answer_event {
    answer_kind kind;
    const char *text; /* what is added; ANSWER_CALL: the arguments, a JSON object. Terminated for calls only. */
    uint64_t text_bytes;
    const char *call_name; /* ANSWER_CALL; terminated */
    const char *call_id;   /* ANSWER_CALL: as the model wrote it; NULL when it wrote none */
} answer_event;

/* Texts of the event are valid during the call. A failure ends the push. */
typedef leat_status answer_sink(void *user, const answer_event *event, leat_error *error);

/* A call, markup included, that is longer is text. */
enum { ANSWER_CALL_BYTES_MAX = 1 << 20 };

typedef struct answer_parser answer_parser;

typedef struct answer_options {
    const char *tools; /* JSON: the request's list of tools, NULL when there are none: then calls stay text */
    uint64_t tools_bytes;
    const char *prompt; /* the rendered prompt or its end; NULL when not known */
    uint64_t prompt_bytes;
} answer_options;

/* The options' texts are copied or read here. LEAT_USAGE for tools that are no list of JSON objects. */
MUST_CHECK leat_status answer_parser_open(mem *ledger, const answer_format *format, const answer_options *options,
                                          answer_parser **out_parser, leat_error *error);
void answer_parser_close(answer_parser **parser);
/* Text with control tokens spelled out; it may end inside of a character. After a failure the parser only closes. */
MUST_CHECK leat_status answer_parser_push(answer_parser *parser, const char *text, uint64_t text_bytes,
                                          answer_sink *sink, void *user, leat_error *error);
/* Hands on what was held back. Nothing may be pushed afterwards. */
MUST_CHECK leat_status answer_parser_finish(answer_parser *parser, answer_sink *sink, void *user, leat_error *error);

#endif
