/*
 * tiny_model.h - for tests: writes the folder of a small model with random float32 weights, in milliseconds. Its output
 * means nothing, but every part that the family has is at work.
 */
#ifndef SUPPORT_TINY_MODEL_H
#define SUPPORT_TINY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tiny_family { TINY_GEMMA4, TINY_LLAMA, TINY_QWEN3_MOE } tiny_family;

typedef struct tiny_shape {
    tiny_family family;
    uint32_t layer_count, hidden, vocab, context;    /* 0: 3, 32, 61, 512 */
    uint32_t head_count, kv_head_count, head_dim;    /* 0: 4, 2, 8 */
    uint32_t width;                                  /* 0: 24 */
    uint32_t window;                                 /* gemma4 only; 0: 5 */
    uint32_t expert_count, used_count, expert_width; /* gemma4: 0 is a dense model; qwen3_moe: 0 is 6, 2, 12 */
    uint32_t input_width;                            /* gemma4 only: of per-layer inputs; 0: none */
    bool has_own_head;                               /* not for gemma4: rows of the embedding are then read on demand */
    uint32_t bf16_layers;                            /* a bit for each: their experts take half the bytes */
    uint64_t seed;
} tiny_shape;

/* Writes config.json and model.safetensors into an existing folder. */
void tiny_model_write(const char *folder, const tiny_shape *shape);

/* Where the tensor's bytes lie in FOLDER/model.safetensors; the names start with "model.". */
void tiny_model_find(const char *folder, const char *tensor, uint64_t *out_offset, uint64_t *out_bytes);

#endif
