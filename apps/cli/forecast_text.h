/* forecast_text.h - forecasts and what they rest on, for people and as members of JSON documents. */
#ifndef CLI_FORECAST_TEXT_H
#define CLI_FORECAST_TEXT_H

#include "json_writer.h"

#include <leat/leat.h>

enum { FORECAST_BYTES = 160 };
#define FORECAST_HEAD "  hits   disk ms  compute ms   tok/s  prompt s"

/* A row below FORECAST_HEAD; returns `out`. */
const char *forecast_describe(const leat_forecast *f, const leat_forecast_basis *basis, char out[FORECAST_BYTES]);
/* Which figures are learned, measured or assumed. */
void forecast_print_basis(output *out, const leat_model_info *info, const leat_forecast_basis *basis);

/* What is not known is null. */
void forecast_write(json_writer *w, const char *key, const leat_forecast *f);
void forecast_write_basis(json_writer *w, const leat_forecast_basis *basis);

#endif
