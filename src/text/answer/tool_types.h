/*
 * tool_types.h - which JSON types a request's tools want for their parameters: for formats that write arguments as bare
 * text.
 *
 * Read once from the request's "tools" (with or without the {"type": "function", "function": ...} around each): the
 * names of tools and of the properties of their parameters, and of each property the types that `type`, `anyOf`,
 * `oneOf`, `allOf`, `nullable` and `enum` allow; the same of a property's own `properties` and `items`. Whatever else
 * schemas can say is not asked.
 *
 * Threads: constant after open.
 */
#ifndef TEXT_ANSWER_TOOL_TYPES_H
#define TEXT_ANSWER_TOOL_TYPES_H

#include "text/answer/json_span.h"

typedef enum tool_type {
    TOOL_STRING = 1,
    TOOL_NUMBER = 2, /* integers too */
    TOOL_BOOLEAN = 4,
    TOOL_NULL = 8,
    TOOL_OBJECT = 16,
    TOOL_ARRAY = 32,
    TOOL_STRUCTURE = TOOL_OBJECT | TOOL_ARRAY,
    TOOL_TRUTH = 64, /* not of schemas: a value that says neither truth nor null is false */
} tool_type;

typedef struct tool_entry {
    uint64_t name_at, name_bytes; /* in `names` */
    uint64_t first, count;        /* its parameters */
} tool_entry;

/* A place in a schema. */
typedef struct tool_parameter {
    uint64_t name_at, name_bytes;
    unsigned types;        /* tool_type; 0: the schema does not say */
    uint64_t first, count; /* the properties of its value */
    uint64_t item;         /* what the elements of its value are; 0: not said */
} tool_parameter;

typedef struct tool_types {
    mem *ledger;
    text_buffer names;
    tool_entry *tools;
    uint64_t tool_count, tool_capacity;
    tool_parameter *parameters; /* those of one place: next to each other, sorted by name */
    uint64_t parameter_count, parameter_capacity;
} tool_types;

/* A zeroed one with its ledger set has no tools. LEAT_USAGE for text that is not a list of objects. */
MUST_CHECK leat_status tool_types_read(tool_types *types, const char *json, uint64_t bytes, leat_error *error);
void tool_types_reset(tool_types *types);
/* NULL when no tool has the name. */
const tool_entry *tool_types_find(const tool_types *types, const char *name, uint64_t bytes);
/* false: the tool (may be NULL) has no such parameter. */
bool tool_types_of(const tool_types *types, const tool_entry *tool, const char *name, uint64_t bytes,
                   unsigned *out_types);
/* NULL when the tool (may be NULL) has no such parameter. */
const tool_parameter *tool_types_parameter(const tool_types *types, const tool_entry *tool, const char *name,
                                           uint64_t bytes);
/* What the schema of a place (NULL: unknown) says of a property of its value, and of an element of it; NULL: nothing.
 */
const tool_parameter *tool_types_property(const tool_types *types, const tool_parameter *of, const char *name,
                                          uint64_t bytes);
const tool_parameter *tool_types_item(const tool_types *types, const tool_parameter *of);

/* Appends the JSON value that bare text stands for, given the types a parameter may have (0: not said). Text that fits
 * none of them is a string: nothing is lost, but for TOOL_TRUTH. */
MUST_CHECK leat_status tool_value_write(json_span text, unsigned types, text_buffer *out, leat_error *error);

#endif
