/* cmd_list.c - the models on this machine. */
#include "cli.h"
#include "engine_setup.h"
#include "human.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"

#include <string.h>

typedef struct listed_model {
    leat_model *model; /* NULL when it cannot be opened; then error says why */
    const leat_model_info *info;
    uint64_t floor_bytes;
    leat_error error;
} listed_model;

static void look_at(const model_entry *entry, listed_model *out_listed)
{
    leat_options options = leat_options_default();
    leat_plan plan = {0};
    memset(out_listed, 0, sizeof *out_listed);
    if (leat_model_open(entry->path, &out_listed->model, &out_listed->error) != LEAT_OK) return;
    out_listed->info = leat_model_get_info(out_listed->model);
    options.force = true;
    leat_status made = leat_plan_make(out_listed->model, &options, &plan, NULL);
    if (made == LEAT_OK || made == LEAT_BUDGET) out_listed->floor_bytes = plan.floor_bytes;
}

static void print_row(cli *c, const model_entry *entry, const listed_model *l)
{
    char parameters[HUMAN_BYTES], bytes[HUMAN_BYTES], floor[HUMAN_BYTES];
    if (!l->model) {
        output_print(&c->out, "%-36s  cannot be used: %s\n", entry->name, l->error.text);
        return;
    }
    output_print(&c->out, "%-36s  %-10s %8s  %10s  floor %10s  %s\n", entry->name, l->info->architecture,
                 human_count(l->info->parameter_count, parameters), human_bytes(l->info->weight_bytes, bytes),
                 human_bytes(l->floor_bytes, floor), l->info->path);
}

static void write_row(json_writer *w, const model_entry *entry, const listed_model *l)
{
    json_writer_begin_object(w, NULL);
    json_writer_text(w, "name", entry->name);
    json_writer_text(w, "path", l->model ? l->info->path : entry->path);
    json_writer_text(w, "problem", l->model ? NULL : l->error.text);
    if (l->model) {
        json_writer_text(w, "architecture", l->info->architecture);
        json_writer_u64(w, "parameter_count", l->info->parameter_count);
        json_writer_u64(w, "weight_bytes", l->info->weight_bytes);
        json_writer_u64(w, "floor_bytes", l->floor_bytes);
    }
    json_writer_end_object(w);
}

static void print_models(cli *c, const model_list *list)
{
    json_writer w;
    json_writer_init(&w, &c->out);
    if (c->options.json) {
        json_writer_begin_document(&w, "leat.list/1");
        json_writer_begin_array(&w, "models");
    }
    for (uint32_t i = 0; i < list->count; i++) {
        listed_model listed;
        look_at(&list->items[i], &listed);
        if (c->options.json)
            write_row(&w, &list->items[i], &listed);
        else
            print_row(c, &list->items[i], &listed);
        leat_model_close(&listed.model);
    }
    if (c->options.json) {
        json_writer_end_array(&w);
        json_writer_end_document(&w);
    }
}

leat_status cmd_list(cli *c, leat_error *error)
{
    model_list list;
    TRY(cli_refuse_rest(c, error));
    TRY(model_list_read(c, &list, error));
    if (c->options.names) {
        for (uint32_t i = 0; i < list.count; i++) output_print(&c->out, "%s\n", list.items[i].name);
        return LEAT_OK;
    }
    print_models(c, &list);
    if (list.count == 0) report_note("no models in the Hugging Face cache or in $LEAT_MODELS");
    return LEAT_OK;
}
