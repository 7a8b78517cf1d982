/*
 * hf_config.h - questions to a config.json: keys are looked up in `text_config`, then at the top level, then the
 * default holds.
 *
 * The document is checked once at open (strict JSON, unique keys, at most 1 MiB, bare NaN and Infinity let through) and
 * kept as a flat list of its values, which every question scans: no question takes memory. `null` counts as absent.
 * Integers may be written as 3.0. Every failure names the file, the key and the value found.
 */
#ifndef FORMAT_HF_CONFIG_H
#define FORMAT_HF_CONFIG_H

#include "base/arena.h"
#include "base/json.h"

typedef struct hf_config hf_config;

enum { HF_CONFIG_BYTES_MAX = 1 << 20, HF_CONFIG_VALUES_MAX = 1 << 18 };

/* `name` ("config.json") and `text` are copied. */
MUST_CHECK leat_status hf_config_open(mem *ledger, const char *name, const char *text, uint64_t text_bytes,
                                      hf_config **out_config, leat_error *error);
void hf_config_close(hf_config **config);
const char *hf_config_name(const hf_config *config);

/* A key is a path of object keys separated by '/': "rope_parameters/full_attention/rope_theta". A path is looked up
 * first below text_config, then at the top level. */
bool hf_config_has(const hf_config *config, const char *key);

/* *out_value is in [low, high]; absent: LEAT_MODEL naming the key. The _or forms give `fallback` when absent. */
MUST_CHECK leat_status hf_config_u32(const hf_config *config, const char *key, uint32_t low, uint32_t high,
                                     uint32_t *out_value, leat_error *error);
MUST_CHECK leat_status hf_config_u32_or(const hf_config *config, const char *key, uint32_t low, uint32_t high,
                                        uint32_t fallback, uint32_t *out_value, leat_error *error);
MUST_CHECK leat_status hf_config_f64_or(const hf_config *config, const char *key, double low, double high,
                                        double fallback, double *out_value, leat_error *error);
MUST_CHECK leat_status hf_config_bool_or(const hf_config *config, const char *key, bool fallback, bool *out_value,
                                         leat_error *error);
/* Into a buffer of `out_bytes`; too long is LEAT_MODEL. Absent: fallback (may be NULL: then out becomes ""). */
MUST_CHECK leat_status hf_config_text_or(const hf_config *config, const char *key, const char *fallback, char *out,
                                         size_t out_bytes, leat_error *error);
/* An array's length, or *out_count = 0 when absent. A value that is no array: LEAT_MODEL. */
MUST_CHECK leat_status hf_config_array_count(const hf_config *config, const char *key, uint32_t *out_count,
                                             leat_error *error);
/* Element `idx` of an array as text / integer / number. */
MUST_CHECK leat_status hf_config_array_text(const hf_config *config, const char *key, uint32_t idx, char *out,
                                            size_t out_bytes, leat_error *error);
MUST_CHECK leat_status hf_config_array_u32(const hf_config *config, const char *key, uint32_t idx, uint32_t low,
                                           uint32_t high, uint32_t *out_value, leat_error *error);
MUST_CHECK leat_status hf_config_array_f64(const hf_config *config, const char *key, uint32_t idx, double *out_value,
                                           leat_error *error);
/* Ids given as one integer or as a list, at the top level and below text_config: the union, appended to out_ids[*count]
 * up to `capacity` without duplicates. Each must be below `vocab_count`. */
MUST_CHECK leat_status hf_config_token_ids(const hf_config *config, const char *key, uint32_t vocab_count,
                                           uint32_t *out_ids, uint32_t capacity, uint32_t *count, leat_error *error);

/* The quantisation dictionary (`quantization`, else `quantization_config` with bits or group_size and without
 * quant_method). */
typedef enum quant_mode { QUANT_MODE_AFFINE, QUANT_MODE_MXFP4, QUANT_MODE_NVFP4, QUANT_MODE_MXFP8 } quant_mode;

typedef struct quant_hint {
    bool is_present; /* the dictionary exists, or the path has an override */
    bool is_off;     /* an override `false` */
    bool has_group, has_bits,
        has_mode; /* what is written; the rest holds the mode's defaults, and no mode means affine */
    uint32_t group, bits;
    quant_mode mode;
    bool has_global_scale; /* "global_scale": true, as nvfp4 overrides have it */
} quant_hint;

/* "affine", "mxfp4", ... */
const char *quant_mode_label(quant_mode mode);

/* Checks the whole dictionary (known modes, group_size 16, 32, 64, 128, bits 1..8 without 7) and gives its top level. A
 * foreign `quant_method` that we cannot read is LEAT_MODEL. */
MUST_CHECK leat_status hf_config_quant(const hf_config *config, quant_hint *out_hint, leat_error *error);
/* The override for a module path (without ".weight"), tried as given and with the usual prefixes exchanged; is_present
 * false when none. */
MUST_CHECK leat_status hf_config_quant_override(const hf_config *config, const char *module_path, quant_hint *out_hint,
                                                leat_error *error);

#endif
