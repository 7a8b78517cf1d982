/*
 * model_path.h - from what a user types to a folder: an existing folder, a *.safetensors file (its folder), or
 * ORG/REPO[@REV] in the Hugging Face cache ($HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub). The environment is read here and nowhere else.
 */
#ifndef EXEC_MODEL_PATH_H
#define EXEC_MODEL_PATH_H

#include "base/status.h"

enum { MODEL_PATH_BYTES = 4096 };

typedef struct model_path {
    char root[MODEL_PATH_BYTES];  /* symbolic links must stay beneath this folder */
    char below[MODEL_PATH_BYTES]; /* the checkpoint's folder relative to root; "." for a plain folder */
} model_path;

/* LEAT_MODEL with a hint (what is supported; the `hf download` line for a repository that is not in the cache;
 * "download not finished"). */
MUST_CHECK leat_status model_path_resolve(const char *given, model_path *out_path, leat_error *error);

#endif
