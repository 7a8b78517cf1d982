/*
 * pack_compare.h - compares a pack with its source: the folder is opened as any checkpoint, and every tensor and part
 * that its model names is compared with the source's, so what is published is what a reader sees.
 *
 * Threads: one.
 */
#ifndef EXEC_PACK_COMPARE_H
#define EXEC_PACK_COMPARE_H

#include "exec/pack.h"
#include "exec/pack_layout.h"

/* `path`: the pack's folder. `buffer`, `other_buffer`: (PACK_BLOCK_BYTES). LEAT_MODEL: they differ. */
MUST_CHECK leat_status pack_compare(const pack_request *request, const pack_layout *layout, const char *path,
                                    uint8_t *buffer, uint8_t *other_buffer, leat_error *error);

#endif
