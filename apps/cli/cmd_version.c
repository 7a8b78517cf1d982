/* cmd_version.c - the version, and what this machine can use of it. */
#include "cli.h"
#include "json_writer.h"

static const leat_isa sets[] = {LEAT_ISA_SCALAR, LEAT_ISA_AVX2, LEAT_ISA_AVX512};
enum { SET_COUNT = sizeof sets / sizeof *sets };

leat_status cmd_version(cli *c, leat_error *error)
{
    TRY(cli_refuse_rest(c, error));
    if (!c->options.json) {
        output_print(&c->out, "leat %s\n", leat_version());
        return LEAT_OK;
    }
    json_writer w;
    json_writer_init(&w, &c->out);
    json_writer_begin_document(&w, "leat.version/1");
    json_writer_text(&w, "version", leat_version());
    json_writer_text(&w, "commit", leat_commit());
    json_writer_begin_array(&w, "instruction_sets");
    for (int i = 0; i < SET_COUNT; i++)
        if (leat_isa_is_usable(sets[i])) json_writer_text(&w, NULL, leat_isa_label(sets[i]));
    json_writer_end_array(&w);
    json_writer_end_document(&w);
    return LEAT_OK;
}
