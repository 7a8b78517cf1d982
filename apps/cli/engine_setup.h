/*
 * engine_setup.h - a model, its engine and a session, opened as the options say, with the account of the memory on
 * standard error.
 */
#ifndef CLI_ENGINE_SETUP_H
#define CLI_ENGINE_SETUP_H

#include "cli.h"
#include "json_writer.h"
#include "route_trace_writer.h"

typedef struct engine_setup {
    leat_model *model;
    leat_engine *engine;
    leat_session *session;
    const leat_model_info *info;
    const leat_plan *plan;
    route_trace_writer trace;        /* --route-trace */
    const leat_tokenizer *tokenizer; /* NULL when the model has none */
} engine_setup;

/* The library's options from ours. Makes the folder of profiles. */
leat_options engine_options(const cli_options *options);
/* Its experts have less room than one token uses: each layer drives out the next one's. */
bool plan_is_below_one_token(const leat_plan *plan, const leat_model_info *info);
/* In two steps, so that what can be found wrong without the weights is found before they are read: the model, whose
 * headers are enough for `info`, then the rest. A zeroed setup; engine_setup_close also after a failure. */
MUST_CHECK leat_status engine_setup_open_model(const char *model_path, engine_setup *setup, leat_error *error);
/* ctx: for --ctx auto, how many positions are needed at least; 0: no more than usual. */
MUST_CHECK leat_status engine_setup_open_engine(cli *c, uint32_t ctx, engine_setup *setup, leat_error *error);
/* What --ctx means for this model. */
uint32_t engine_setup_ctx(const cli *c, const engine_setup *setup);
void engine_setup_close(engine_setup *setup);

/* "ram: 24.0 GiB budget = trunk 17.2 + ...", and a warning where that would page. */
void plan_report(const leat_plan *plan);
/* "plan" and its parts as members of the open object. */
void plan_write_json(json_writer *w, const leat_plan *plan);

/* How the weight files are read: "direct", "buffered", "3 direct, 1 buffered", each with ", measured" where that
 * decided. Returns `out`. */
enum { IO_FILES_BYTES = 64 };
const char *io_describe_files(uint32_t direct_count, uint32_t buffered_count, bool is_measured,
                              char out[IO_FILES_BYTES]);
/* Members of the object that is open. */
void io_write_files_json(json_writer *w, uint32_t direct_count, uint32_t buffered_count, bool is_measured);

#endif
