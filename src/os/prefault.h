/*
 * prefault.h - makes the pages of large blocks resident before they are used, by threads that do nothing else.
 *
 * The first use of a page costs a fault, in which the system clears it; who reads from a disk into new memory pays for
 * that in the thread that asks. Here it is paid beside the arithmetic. Only what its owner allows is touched, in
 * ascending order, and never more than the block. Contents do not change, so that a block may be in use meanwhile.
 * Where the system cannot do it (before Linux 5.14) nothing happens.
 *
 * Threads: allow from one thread at a time for each block; a block must stay until close.
 */
#ifndef OS_PREFAULT_H
#define OS_PREFAULT_H

#include "base/mem.h"

enum { PREFAULT_BLOCKS_MAX = 8 };

typedef struct prefault prefault;

/* What open takes from MEM_META. */
uint64_t prefault_bytes(void);
MUST_CHECK leat_status prefault_open(mem *ledger, prefault **out_prefault, leat_error *error);
/* Block `idx` (lower ones are served first) of which nothing may be touched yet; before the first allow. */
void prefault_add(prefault *p, uint32_t idx, void *block, uint64_t bytes);
/* The block's first `bytes` may be made resident. */
void prefault_allow(prefault *p, uint32_t idx, uint64_t bytes);
/* Nothing more of the block is touched, and nothing of it is when this returns: its owner gives pages back. */
void prefault_stop(prefault *p, uint32_t idx);
/* Returns when no thread touches anything any more. NULL is accepted. */
void prefault_close(prefault **p);

#endif
