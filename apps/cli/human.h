/* human.h - figures for people. The texts are written into the caller's buffer, which is also returned. */
#ifndef CLI_HUMAN_H
#define CLI_HUMAN_H

#include <stdint.h>

enum { HUMAN_BYTES = 32 };

/* "23.3 MiB", "512 B" */
const char *human_bytes(uint64_t bytes, char out[HUMAN_BYTES]);
/* "850 us", "12.5 ms", "3.2 s", "4 min 10 s" */
const char *human_time(uint64_t ns, char out[HUMAN_BYTES]);
/* "35.4 B" (1e9), "40.4 M", "1234" */
const char *human_count(uint64_t count, char out[HUMAN_BYTES]);
/* count per second; 0 when no time has passed */
double rate_per_second(uint64_t count, uint64_t ns);

#endif
