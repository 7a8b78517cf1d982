/*
 * audit_reader.h - an audit file, line by line, each verified against the chain (docs/formats/audit.md).
 */
#ifndef CLI_AUDIT_READER_H
#define CLI_AUDIT_READER_H

#include "audit_chain.h"
#include "strbuf.h"

typedef enum audit_kind { AUDIT_HEADER, AUDIT_TOKEN, AUDIT_END } audit_kind;

/* A member's value as it stands in the line; bytes are NULL where there is no such member. */
typedef struct text_span {
    const char *bytes;
    size_t count;
} text_span;

typedef struct audit_line {
    audit_kind kind;
    text_span model, sampling;                                   /* HEADER */
    text_span position, token, routes, experts, weights, logits; /* TOKEN */
    text_span end, tokens;                                       /* END */
} audit_line;

typedef struct audit_reader {
    mem *ledger;
    const char *path;
    int fd; /* -1: none */
    audit_chain chain;
    strbuf bytes;                 /* read and not yet dropped */
    size_t line_begin, line_next; /* the current line's, and where the next one begins */
    uint64_t line_number, token_count;
    bool is_ended;
} audit_reader;

/* Reads the first line. LEAT_USAGE: the file cannot be opened or is not an audit. Close also after a failure. */
MUST_CHECK leat_status audit_reader_open(audit_reader *r, mem *ledger, const char *path, audit_line *out_header,
                                         leat_error *error);
void audit_reader_close(audit_reader *r);
/* The next line; its spans are valid until the next call. After the END line there is none. LEAT_IO with the line's
 * number: the chain is broken, the file is cut off, or there is something after its end. */
MUST_CHECK leat_status audit_reader_next(audit_reader *r, audit_line *out_line, leat_error *error);

#endif
