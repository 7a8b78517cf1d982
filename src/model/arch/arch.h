/* arch.h - one constant per architecture family; each is one file beside this. */
#ifndef MODEL_ARCH_ARCH_H
#define MODEL_ARCH_ARCH_H

#include "model/model_build.h"

extern const architecture arch_gemma4, arch_llama, arch_qwen3, arch_qwen3_moe;

#endif
