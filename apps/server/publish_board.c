#include "publish_board.h"

#include <assert.h>
#include <string.h>

/* The orders: nothing below the odd number may be seen before it (acquire of the exchange keeps the words behind it),
 * and the even number is seen only with all words (release). A reader's loads of words are acquires, so that its second
 * look at the number comes after them. */
void publish_board_write(publish_board *board, const void *value, size_t bytes)
{
    uint64_t words[PUBLISH_WORDS_MAX] = {0};
    const size_t count = (bytes + 7) / 8;

    assert(count <= PUBLISH_WORDS_MAX);
    memcpy(words, value, bytes);
    const uint32_t before = atomic_load_explicit(&board->sequence, memory_order_relaxed);
    atomic_exchange_explicit(&board->sequence, before + 1, memory_order_acq_rel);
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&board->words[i], words[i], memory_order_release);
    atomic_store_explicit(&board->sequence, before + 2, memory_order_release);
}

void publish_board_read(publish_board *board, void *out_value, size_t bytes)
{
    uint64_t words[PUBLISH_WORDS_MAX];
    const size_t count = (bytes + 7) / 8;
    uint32_t before, after;

    assert(count <= PUBLISH_WORDS_MAX);
    do {
        before = atomic_load_explicit(&board->sequence, memory_order_acquire);
        for (size_t i = 0; i < count; i++) words[i] = atomic_load_explicit(&board->words[i], memory_order_acquire);
        after = atomic_load_explicit(&board->sequence, memory_order_relaxed);
    } while (before != after || before % 2 != 0);
    memcpy(out_value, words, bytes);
}
