/*
 * account.h - what an answer cost: times, expert hits, bytes read, memory. One line, a block with -v, or members of a
 * JSON document.
 */
#ifndef CLI_ACCOUNT_H
#define CLI_ACCOUNT_H

#include "engine_setup.h"
#include "generate.h"
#include "whole_file.h"

/* The closing line on standard error. `before`: the statistics when the answer began. */
void account_report(const engine_setup *setup, const generation *g, const leat_stats *before);
/* The block that -v shows in its place. */
void account_report_block(const engine_setup *setup, const generation *g, const leat_stats *before);
/* The closing line of a text that was scored. */
void account_report_score(const engine_setup *setup, size_t token_count, uint64_t elapsed_ns);
/* "timings", and what account_write_machine_json writes. */
void account_write_json(json_writer *w, cli *c, const engine_setup *setup, const generation *g);

/* "memory", "experts", "io", "isa", "times": for the process from its start. */
void account_write_machine_json(json_writer *w, cli *c, const engine_setup *setup);

/* Opens the file of --stats, where it names one: before the work whose account it takes. */
MUST_CHECK leat_status account_open_stats(const cli *c, whole_file *stats, leat_error *error);
/* Where the time went: a line with -v, and the document that --stats wants, in `stats` where that is open. LEAT_IO when
 * it cannot be written. */
MUST_CHECK leat_status account_report_times(cli *c, const engine_setup *setup, whole_file *stats, leat_error *error);

#endif
