/* cmd_profile.c - what runs have learned about a model: shown, or forgotten. */
#include "engine_setup.h"
#include "human.h"
#include "model_list.h"
#include "report.h"

#include <math.h>

static void print_phase(output *out, const char *name, const leat_profile_phase *p)
{
    char read[HUMAN_BYTES];
    if (!(p->token_count > 0)) return;
    output_print(out, "%-9s %.0f tokens: %.3g ms of arithmetic, %.3g ms of waiting and %s read for each\n", name,
                 p->token_count, p->compute_s * 1e3, p->wait_s * 1e3, human_bytes((uint64_t)p->read_bytes, read));
}

static void print_text(output *out, const leat_profile *p)
{
    char bytes[HUMAN_BYTES];
    output_print(out, "file      %s, %s\n", p->path, human_bytes(p->file_bytes, bytes));
    output_print(out, "machine   %u threads, %s\n", p->thread_count, p->isa);
    print_phase(out, "decoded", &p->decode);
    print_phase(out, "prompts", &p->prefill);
    if (p->sample_token_count == 0) return;
    output_print(out, "routing   %u tokens kept; a quarter of the experts, the busiest, has %.0f %% of all uses\n",
                 p->sample_token_count, p->busiest_quarter_share * 100);
    for (uint32_t i = 0; i < p->choice_count; i++)
        output_print(out, "%s%s with room for %u experts\n", i == 0 ? "policy    " : "          ",
                     leat_cache_policy_label(p->choices[i].policy), p->choices[i].slot_count);
}

static void write_phase(json_writer *w, const char *name, const leat_profile_phase *p)
{
    const bool is_known = p->token_count > 0;
    json_writer_begin_object(w, name);
    json_writer_number(w, "token_count", p->token_count);
    json_writer_number(w, "compute_s_per_token", is_known ? p->compute_s : NAN);
    json_writer_number(w, "wait_s_per_token", is_known ? p->wait_s : NAN);
    json_writer_number(w, "read_bytes_per_token", is_known ? p->read_bytes : NAN);
    json_writer_end_object(w);
}

static void print_json(output *out, const leat_model_info *info, const leat_profile *p, bool is_forgotten)
{
    json_writer w;
    json_writer_init(&w, out);
    json_writer_begin_document(&w, "leat.profile/1");
    json_writer_text(&w, "model", info->path);
    json_writer_flag(&w, "is_known", p->is_known);
    json_writer_flag(&w, "is_forgotten", is_forgotten);
    if (p->is_known) {
        json_writer_text(&w, "path", p->path);
        json_writer_u64(&w, "file_bytes", p->file_bytes);
        json_writer_u64(&w, "thread_count", p->thread_count);
        json_writer_text(&w, "isa", p->isa);
        write_phase(&w, "decode", &p->decode);
        write_phase(&w, "prefill", &p->prefill);
        json_writer_u64(&w, "sample_token_count", p->sample_token_count);
        json_writer_number(&w, "busiest_quarter_share", p->sample_token_count > 0 ? p->busiest_quarter_share : NAN);
        json_writer_begin_array(&w, "choices");
        for (uint32_t i = 0; i < p->choice_count; i++) {
            json_writer_begin_object(&w, NULL);
            json_writer_u64(&w, "slot_count", p->choices[i].slot_count);
            json_writer_text(&w, "cache_policy", leat_cache_policy_label(p->choices[i].policy));
            json_writer_end_object(&w);
        }
        json_writer_end_array(&w);
    }
    json_writer_end_document(&w);
}

static leat_status show(cli *c, const leat_model *model, leat_error *error)
{
    const leat_options options = engine_options(&c->options);
    leat_profile profile;
    TRY(leat_profile_read(model, options.profile_folder, &profile, error));
    if (c->options.forget) TRY(leat_profile_forget(model, options.profile_folder, error));
    if (c->options.json)
        print_json(&c->out, leat_model_get_info(model), &profile, c->options.forget && profile.is_known);
    else if (!profile.is_known)
        report_note("no run has learned anything about this model yet");
    else if (c->options.forget)
        report_note("forgotten: %s", profile.path);
    else
        print_text(&c->out, &profile);
    return LEAT_OK;
}

leat_status cmd_profile(cli *c, leat_error *error)
{
    leat_model *model = NULL;
    TRY(model_open_only(c, &model, error));
    leat_status status = show(c, model, error);
    leat_model_close(&model);
    return status;
}
