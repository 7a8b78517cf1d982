/*
 * checkpoint.h - a checkpoint's folder on disk: which files it has, opened once; their headers, parsed; its texts.
 *
 * Shards: those that model.safetensors.index.json names, if it exists; else model.safetensors; else model*.safetensors.
 * Names from the index must be plain file names inside the folder. The shards' own headers win over the index: a tensor
 * that the index lists elsewhere or not at all is a warning, a missing shard and a tensor in two shards are errors.
 * Weight files stay open (their descriptors are what the engine reads from, so a file that is replaced meanwhile does
 * no harm).
 */
#ifndef EXEC_CHECKPOINT_H
#define EXEC_CHECKPOINT_H

#include "format/hf_config.h"
#include "format/tensor_index.h"
#include "io/storage.h"

enum { CHECKPOINT_WARNINGS_MAX = 32, CHECKPOINT_TEXT_BYTES_MAX = 256 << 20 };

typedef struct checkpoint {
    mem *ledger; /* of its own, unlimited; what it holds is part of the plan's process term */
    char *path;  /* resolved folder */
    int folder_fd;
    int root_fd;      /* what paths must stay beneath: the folder, or the Hugging Face repo folder */
    char *below_root; /* folder relative to root_fd, "." or "snapshots/<commit>" */
    file *files;      /* (file_count), buffered */
    const char **file_names;
    uint32_t file_count;
    tensor_index index;
    hf_config *config;     /* config.json */
    hf_config *generation; /* generation_config.json; NULL when absent */
    char *warnings[CHECKPOINT_WARNINGS_MAX];
    uint32_t warning_count;
} checkpoint;

/* `path` as the user gave it (model_path.h resolves it). Every name is opened beneath root_fd with openat2. */
MUST_CHECK leat_status checkpoint_open(const char *path, checkpoint **out_checkpoint, leat_error *error);
/* A folder of which only texts are wanted (a tokenizer): needs neither config.json nor weights; file_count is 0. */
MUST_CHECK leat_status checkpoint_open_texts(const char *path, checkpoint **out_checkpoint, leat_error *error);
void checkpoint_close(checkpoint **c);
/* Adds a line to `warnings` (and drops it when there is no room). */
void checkpoint_warn(checkpoint *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* A text file of the folder ("tokenizer.json"). *out_text is NULL when it does not exist. Freed with mem_free(ledger,
 * ..). */
MUST_CHECK leat_status checkpoint_load_text(const checkpoint *c, const char *name, mem *ledger, mem_pool pool,
                                            char **out_text, uint64_t *out_bytes, leat_error *error);
/* The size of a text file; 0 when it does not exist. */
MUST_CHECK leat_status checkpoint_text_bytes(const checkpoint *c, const char *name, uint64_t *out_bytes,
                                             leat_error *error);
/* A second set of descriptors for the weight files, in `mode` (direct: falls back per file when the file system refuses
 * and mode is FILE_DIRECT_IF_POSSIBLE). `out_files` has file_count entries; the caller closes them. */
MUST_CHECK leat_status checkpoint_reopen(const checkpoint *c, file_mode mode, file *out_files, leat_error *error);

/* Reads every byte of every file: Hugging Face blob names (64 hex: SHA-256, 40 hex: git blob SHA-1) are verified
 * against the content, and so are the checksums of a packed checkpoint (pack_manifest.h); scales, zero offsets and
 * float tensors are searched for NaN and infinities (LEAT_MODEL naming tensor and byte offset). */
typedef void checkpoint_progress(void *user, const char *phase, uint64_t done, uint64_t total);
MUST_CHECK leat_status checkpoint_verify(const checkpoint *c, checkpoint_progress *progress, void *user,
                                         const volatile int *cancel, uint64_t *out_bytes, leat_error *error);

#endif
