#include "forecast_text.h"

#include <math.h>
#include <stdio.h>

/* A figure or a dash. */
static const char *or_dash(double value, int decimals, char out[24])
{
    if (value > 0)
        snprintf(out, 24, "%.*f", decimals, value);
    else
        snprintf(out, 24, "-");
    return out;
}

const char *forecast_describe(const leat_forecast *f, const leat_forecast_basis *basis, char out[FORECAST_BYTES])
{
    char disk[24], compute[24], rate[24], prompt[24];
    const bool reads = f->bytes_per_token >= 1;
    const bool has_disk = reads && basis->io != LEAT_SOURCE_NONE;
    snprintf(out, FORECAST_BYTES, "%4.0f %% %9s %11s %7s %9s", f->hit_rate * 100,
             or_dash(has_disk ? fmax(f->io_s, f->expert_wait_s) * 1e3 : 0, 1, disk),
             or_dash(f->compute_s * 1e3, 1, compute), or_dash(f->token_s > 0 ? 1 / f->token_s : 0, 2, rate),
             or_dash(f->prompt_s, 1, prompt));
    return out;
}

void forecast_print_basis(output *out, const leat_model_info *info, const leat_forecast_basis *basis)
{
    output_print(out, "\nPredicted for a text that goes on; a prompt of 512 tokens until its first token. Based on:");
    if (info->expert_count > 0) {
        output_print(out, " hits %s", leat_forecast_source_label(basis->hits));
        if (basis->hits == LEAT_SOURCE_PROFILE) output_print(out, " (%u tokens)", basis->sample_token_count);
        output_print(out, ",");
    }
    output_print(out, " disk %s", leat_forecast_source_label(basis->io));
    if (basis->drive_bytes_per_s > 0) output_print(out, " (%.2f GB/s)", basis->drive_bytes_per_s * 1e-9);
    output_print(out, ", compute %s.\n", leat_forecast_source_label(basis->compute));
    if (basis->compute != LEAT_SOURCE_PROFILE)
        output_print(out, "After a run of 16 tokens or more the figures rest on what it learned.\n");
}

static void write_known(json_writer *w, const char *key, double value, bool is_known)
{
    json_writer_number(w, key, is_known ? value : NAN);
}

void forecast_write(json_writer *w, const char *key, const leat_forecast *f)
{
    const bool is_known = f->token_s > 0;
    json_writer_begin_object(w, key);
    json_writer_number(w, "hit_rate", f->hit_rate);
    json_writer_number(w, "read_bytes_per_token", f->bytes_per_token);
    write_known(w, "io_s", f->io_s, is_known);
    write_known(w, "compute_s", f->compute_s, f->compute_s > 0);
    write_known(w, "expert_wait_s", f->expert_wait_s, is_known);
    write_known(w, "tokens_per_s", 1 / f->token_s, is_known);
    write_known(w, "prompt_read_bytes", f->prompt_bytes, is_known);
    write_known(w, "prompt_s", f->prompt_s, is_known);
    json_writer_end_object(w);
}

void forecast_write_basis(json_writer *w, const leat_forecast_basis *basis)
{
    json_writer_begin_object(w, "basis");
    json_writer_text(w, "hits", leat_forecast_source_label(basis->hits));
    json_writer_text(w, "io", leat_forecast_source_label(basis->io));
    json_writer_text(w, "compute", leat_forecast_source_label(basis->compute));
    json_writer_u64(w, "sample_token_count", basis->sample_token_count);
    write_known(w, "drive_bytes_per_s", basis->drive_bytes_per_s, basis->drive_bytes_per_s > 0);
    write_known(w, "drive_part_bytes_per_s", basis->drive_part_bytes_per_s, basis->drive_part_bytes_per_s > 0);
    json_writer_end_object(w);
}
