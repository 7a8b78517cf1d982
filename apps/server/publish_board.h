/*
 * publish_board.h - one value that one thread writes and others read, without waiting for each other.
 *
 * A sequence number is odd while the words behind it change; a reader that met a change reads again. A write takes
 * nanoseconds, so a reader is never held up by what the writer does otherwise, however long that waits for a disk.
 *
 * Threads: publish_board_write on one thread at a time, publish_board_read on any. A zeroed board holds zeros.
 */
#ifndef SERVER_PUBLISH_BOARD_H
#define SERVER_PUBLISH_BOARD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { PUBLISH_WORDS_MAX = 128 };

typedef struct publish_board {
    _Atomic uint32_t sequence;
    _Atomic uint64_t words[PUBLISH_WORDS_MAX];
} publish_board;

/* Both with the same `bytes`, at most PUBLISH_WORDS_MAX words. */
void publish_board_write(publish_board *board, const void *value, size_t bytes);
void publish_board_read(publish_board *board, void *out_value, size_t bytes);

#endif
