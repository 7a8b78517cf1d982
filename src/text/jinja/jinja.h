/*
 * jinja.h - chat templates: the Jinja dialect in which models say how a conversation becomes a prompt.
 *
 * A template is compiled once and rendered many times. Its meaning is that of Jinja2 in the environment transformers
 * gives chat templates (trim_blocks, lstrip_blocks, loop controls, `generation`, its own tojson, raise_exception,
 * strftime_now); docs/formats/chat-template.md lists what is supported and where this engine differs. Templates come
 * from strangers: nothing outside the given variables can be reached, and steps, output, memory and depth are bounded.
 *
 * The output knows of every byte whether it came from the conversation (`is_data`) or was written by the template, so
 * that text of a message is never read as a control token.
 *
 * Owner: jinja_open copies what it keeps; jinja_close frees it. The values of a rendering live in an arena of its own
 * that is gone when jinja_render returns.
 * Threads: a template is constant after jinja_open; renderings may run in parallel, each with an output of its own.
 */
#ifndef TEXT_JINJA_JINJA_H
#define TEXT_JINJA_JINJA_H

#include "text/tokenizer.h"

typedef struct jinja_template jinja_template;

typedef struct jinja_limits {
    uint64_t source_bytes_max;
    uint64_t step_max;           /* expressions, statements and elements of a rendering; large copies count too */
    uint64_t output_bytes_max;   /* of the result, and of any string made on the way */
    uint32_t parse_depth_max;    /* nesting of statements and expressions */
    uint32_t call_depth_max;     /* macros and callers that are running inside each other; nesting of values */
    bool (*is_late)(void *user); /* polled now and then while rendering; true ends it. NULL: never late */
    void *late_user;
} jinja_limits;

/* 256 KiB, 5 M steps, 64 MiB, 100, 64. */
extern const jinja_limits jinja_limits_default;

typedef enum jinja_fault {
    JINJA_NO_FAULT,
    JINJA_RAISED, /* the template called raise_exception: the error's text is its message */
    JINJA_SYNTAX,
    JINJA_UNDEFINED,
    JINJA_TYPE,
    JINJA_VALUE,
    JINJA_SECURITY,
    JINJA_ZERO_DIVISION,
    JINJA_OVERFLOW,
    JINJA_RECURSION,
    JINJA_RUNTIME,
    JINJA_LIMIT /* steps, output, time, memory */
} jinja_fault;

/* "none", "raised", "syntax", "undefined", ...; static. */
const char *jinja_fault_label(jinja_fault fault);

/* Compiles `source` (UTF-8). `name` stands in error texts. `limits` NULL: the default. LEAT_MODEL: not a template, or
 * one beyond the limits; *out_fault (may be NULL) says which kind. */
MUST_CHECK leat_status jinja_open(mem *ledger, const char *name, const char *source, uint64_t bytes,
                                  const jinja_limits *limits, jinja_template **out, jinja_fault *out_fault,
                                  leat_error *error);
/* What compiling a template of so many bytes takes at its worst moment, less of it afterwards. An estimate: templates
 * of models took 22 to 32 times their size and 64 KiB (docs/measurements/memory.md); made for it, one can take five
 * times as much. */
static inline uint64_t jinja_open_bytes(uint64_t source_bytes) { return source_bytes * 48 + 64 * 1024; }
/* Sets *t to NULL; NULL is accepted. */
void jinja_close(jinja_template **t);

/* A variable of the template: its value as JSON text (borrowed for the call). */
typedef struct jinja_variable {
    const char *name;
    const char *json;
    uint64_t json_bytes;
    bool is_data; /* its strings come from a conversation */
} jinja_variable;

/* Ranges of the text's bytes: in order, without gaps, neighbours differ in is_data. */
typedef struct jinja_segment {
    uint64_t begin, end;
    bool is_data;
} jinja_segment;

typedef struct jinja_output {
    mem *ledger; /* pays for the output and, while rendering, for its values */
    text_buffer text;
    jinja_segment *segments;
    uint64_t segment_count, segment_capacity;
} jinja_output;

void jinja_output_init(jinja_output *output, mem *ledger);
/* Frees what it holds; the output may be used again. */
void jinja_output_reset(jinja_output *output);

/* Renders into `out`, which is emptied first. After a failure it is empty, but for JINJA_RAISED: then its text is what
 * the template raised, in full. LEAT_USAGE: what the template raised or a
 * limit; LEAT_MODEL: a variable that is no JSON. `now_seconds_local`: the local time as if it were seconds of UTC. */
MUST_CHECK leat_status jinja_render(const jinja_template *t, const jinja_variable *variables, uint32_t count,
                                    int64_t now_seconds_local, jinja_output *out, jinja_fault *out_fault,
                                    leat_error *error);

/* Whether what the template writes itself (text between tags, string constants) contains `text`. */
bool jinja_mentions(const jinja_template *t, const char *text);

#endif
