/*
 * audit_writer.h - --audit FILE: what was computed, token by token, as a hash chain (docs/formats/audit.md). Nothing of
 * how it was computed is in it, so that runs with other budgets, threads, chunks, instruction sets and I/O give the
 * same file.
 *
 * The experts of a prompt's chunk come layer by layer; they are kept until their token is told of. A zeroed writer is
 * closed; attach does nothing then.
 */
#ifndef CLI_AUDIT_WRITER_H
#define CLI_AUDIT_WRITER_H

#include "audit_chain.h"
#include "engine_setup.h"
#include "strbuf.h"

typedef struct audit_writer {
    const char *path;
    int fd;
    audit_chain chain;
    strbuf pending; /* lines that are not written yet; the last one while it grows */
    size_t line_begin;
    mem *ledger;
    uint32_t row_max, layer_count, used_count, vocab_size;
    uint32_t *experts; /* (row_max, layer_count, used_count) of position % row_max */
    float *weights;    /* likewise */
    uint64_t token_count;
    phase_clock *phases;
    bool is_open;
} audit_writer;

/* Opens the file without changing it. LEAT_IO when that is not possible. */
MUST_CHECK leat_status audit_writer_open(audit_writer *w, mem *ledger, const char *path, leat_error *error);
/* Empties the file, writes its first line and listens to the session. sampling: NULL where nothing is drawn. */
MUST_CHECK leat_status audit_writer_attach(audit_writer *w, const engine_setup *setup,
                                           const leat_sampler_options *sampling, phase_clock *phases,
                                           leat_error *error);
/* The last line, with what ended the text. */
MUST_CHECK leat_status audit_writer_finish(audit_writer *w, const char *reason, leat_error *error);
/* Before the session is closed. Without a finish what was written remains, and is seen to be cut off. */
void audit_writer_close(audit_writer *w);

#endif
