/*
 * tensor_sort.h - sorting tensors in place, and their order on the disk.
 *
 * A heap sort of our own because qsort may take memory from the system behind the ledger's back, and because the worst
 * case is what a file's author can choose.
 */
#ifndef FORMAT_TENSOR_SORT_H
#define FORMAT_TENSOR_SORT_H

#include "format/tensor_index.h"

/* Negative, zero or positive, as strcmp. */
typedef int tensor_order(const tensor *a, const tensor *b);

/* By file, offset and size: empty tensors come before the one that begins at the same byte. */
int tensor_order_by_place(const tensor *a, const tensor *b);

void tensor_sort(tensor *tensors, uint64_t count, tensor_order *order);

#endif
