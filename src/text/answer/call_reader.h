/*
 * call_reader.h - what a family's reader of tool calls gets: a cursor over the text behind the marker that opened the
 * call, which grows while the reader waits.
 *
 * A reader is called again and again with more text and goes on in its `phase`. Primitives answer READ_MORE when the
 * text ends too early to say; the reader returns CALL_MORE then and is called at the same phase later, so a byte is
 * looked at a bounded number of times. A reader says CALL_READY for each complete call (its name, arguments and
 * identifier are in the cursor's buffers), CALL_END behind the last, or CALL_BAD: then what was not delivered is text
 * up to `at`.
 */
#ifndef TEXT_ANSWER_CALL_READER_H
#define TEXT_ANSWER_CALL_READER_H

#include "text/answer/json_span.h"
#include "text/answer/tool_types.h"

#include <string.h>

typedef enum call_step {
    CALL_MORE,
    CALL_READY,
    CALL_END,
    CALL_BAD,
    CALL_IS_TEXT,     /* no call: what follows `at` is plain text (channels of harmony) */
    CALL_IS_REASONING /* ... or reasoning */
} call_step;

typedef struct call_cursor call_cursor;
typedef leat_status call_reader(call_cursor *c, call_step *out_step, leat_error *error);

enum { CALL_KINDS_MAX = 8 };

/* How a family writes calls: the literals that its reader looks for. Which of them are used is the reader's. */
typedef struct call_shape {
    const char *section_close; /* behind the last call of a block; NULL: a block is one call */
    const char *call_open;     /* before each call of a block */
    const char *name_close;    /* between name and arguments */
    const char *call_close;
    const char *key_open, *key_close;
    const char *value_open, *value_close;
    bool wraps_lines;     /* values stand between two newlines of their own */
    bool has_truth;       /* what does not say true is false, where a parameter can be nothing else */
    bool unknown_is_json; /* values of parameters that no schema knows are read as JSON where they are */
    /* The rest of a value's tag that says what it is: the first a string, the others JSON. Ends with NULL. */
    const char *kinds[CALL_KINDS_MAX];
    const char *whole_open, *whole_close; /* around an object with all arguments, where one may stand instead */
    const char *header_close;             /* where more than name_close stands between name and arguments: its end */
    const char *thought_to;               /* the recipient of thoughts, where calls say their tool themselves */
    bool may_be_cdata;                    /* a value may stand in <![CDATA[ and ]]> */
    bool has_entities;                    /* names and keys have &amp; and &quot; */
    bool name_is_id;                      /* functions.NAME:INDEX, which is the identifier too */
    bool only_known;                      /* nothing marks the call: its name must be a tool's */
    bool name_is_key;                     /* {NAME: ARGUMENTS} */
    const char *id_close;                 /* between an identifier and the name */
} call_shape;

struct call_cursor {
    /* set by the parser */
    mem *ledger;
    const tool_types *types;
    const call_shape *shape;
    call_reader *reader;
    const char *text;
    uint64_t count; /* of what is there */
    bool at_end;    /* no more will come */
    bool has_tools;
    bool at_front; /* nothing was said before the call */
    /* the reader's; zero at the beginning */
    int phase;
    uint64_t at;       /* first byte that has not been read */
    uint64_t mark;     /* first byte of something the reader remembers */
    uint64_t value_at; /* begin of a value, its end in value_end */
    uint64_t value_end;
    uint64_t element_at;                 /* walk through an array of calls */
    bool value_is_string, value_is_json; /* what the value's tag said */
    bool in_quotes;
    uint32_t depth;
    uint64_t call_count; /* delivered */
    bool keeps_text;     /* after CALL_READY: positions still mean something, keep the text */
    json_scan scan;
    const struct tool_entry *tool;
    /* the call */
    text_buffer name, arguments, id, key;
};

typedef enum read_result { READ_MORE, READ_YES, READ_NO } read_result;

void call_skip_space(call_cursor *c);
/* Moves behind the literal when it is next. NULL is never there. */
read_result call_take(call_cursor *c, const char *literal);
/* Moves behind the next occurrence; what lies before it is [mark, value_end), where mark is the first byte that was
 * searched. READ_NO when it does not begin within `bytes_max` (0: no limit) of `mark`, which must be set before. */
read_result call_find(call_cursor *c, const char *literal, uint64_t bytes_max);
/* Reads the name of a function, a key without quotes and the like: everything up to a byte that names do not have. It
 * is [mark, at). READ_NO for an empty or a long one. */
read_result call_take_name(call_cursor *c);
/* Runs `scan` over a JSON value; it is [mark, at). */
read_result call_scan_json(call_cursor *c);
json_span call_span(const call_cursor *c, uint64_t begin, uint64_t end);

/* Empties name, arguments and id, for the next call. */
void call_begin(call_cursor *c);
MUST_CHECK leat_status call_set_text(text_buffer *out, const char *bytes, uint64_t count, leat_error *error);
/* Whether the bytes could be the name of a function. */
bool call_is_name(json_span span);
/* Sets the name, and finds its tool. *out_is_good false: no name. */
MUST_CHECK leat_status call_set_name(call_cursor *c, json_span name, bool *out_is_good, leat_error *error);
/* Which of two literals is next, moving behind it. */
read_result call_take_either(call_cursor *c, const char *first, const char *second, bool *out_is_first);
/* What is next in a block of calls: one, whose name or header begins at mark, or the block's end, which is its closing
 * literal or, behind a call, whatever else follows. */
read_result call_take_next(call_cursor *c, bool *out_is_call);
/* Arguments from a JSON value: an object, a string that holds one, null. *out_is_good false: neither. */
MUST_CHECK leat_status call_set_arguments(call_cursor *c, json_span value, bool *out_is_good, leat_error *error);
/* White space, then the beginning of an object of arguments, which is mark; call_take_arguments reads it. */
read_result call_find_object(call_cursor *c);
MUST_CHECK leat_status call_take_arguments(call_cursor *c, read_result *out, leat_error *error);
/* Whether arguments that were put together are JSON still: they may have become too deep. */
bool call_has_good_arguments(const call_cursor *c);

/* One step of a reader from its phase to the next, or to CALL_READY. */
typedef leat_status call_phase(call_cursor *c, read_result *out, call_step *out_step, leat_error *error);
/* The first phase of families that write a name or, behind `json_open`, JSON, which is read_json_calls' from then on.
 * The name's phase is `next`; it begins at mark. */
read_result call_step_begin(call_cursor *c, char json_open, int next);
/* Runs the steps of a family whose calls end with the text: up to a call, to `end`, or to another reader. */
MUST_CHECK leat_status call_run(call_cursor *c, call_phase *step, int end, call_step *out_step, leat_error *error);

call_reader read_json_calls;     /* {"name": ..., "arguments": ...}, or a list of them */
call_reader read_tagged_calls;   /* every argument in tags of its own */
call_reader read_element_calls;  /* ... whose names are the arguments', with further ones inside */
call_reader read_named_calls;    /* a name, then an object of arguments */
call_reader read_gemma_calls;    /* call:name{key:value} */
call_reader read_mistral_calls;  /* a list of JSON calls, or name[ARGS]{} */
call_reader read_python_calls;   /* name.call(key="value") */
call_reader read_pythonic_calls; /* [name(key='value', ...), ...] */
call_reader read_recipient;      /* a line that names a function or says that text follows, then the arguments */
call_reader read_harmony;        /* the header of a message and, for a recipient, the call's body */
call_reader read_tag_or_json;    /* what follows <tool_call>: JSON or a tagged function */

extern const call_shape call_shape_json, call_shape_function;

#endif
