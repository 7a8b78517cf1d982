/*
 * pack_texts.h - the files of a pack that hold no weights: configuration, tokenizer, template, licence as the source
 * has them, and an index of the new weight files.
 *
 * Threads: one.
 */
#ifndef EXEC_PACK_TEXTS_H
#define EXEC_PACK_TEXTS_H

#include "exec/pack_folder.h"
#include "exec/pack_layout.h"

/* Written and listed; the manifest is not saved. */
MUST_CHECK leat_status pack_texts_write(pack_folder *f, const pack_layout *layout, leat_error *error);

#endif
