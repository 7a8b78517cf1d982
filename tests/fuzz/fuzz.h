/*
 * fuzz.h - a fuzz target is one function and its words; fuzz_driver.c or libFuzzer calls it.
 *
 * The target takes any bytes, owns everything it opens, and aborts when something that must hold does not.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The name and the type are libFuzzer's. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* Pieces that inputs of this format are made of, put in by the driver's mutations; ends in NULL. */
extern const char *const fuzz_words[];

#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) abort();                                                                                     \
    } while (0)

#endif
