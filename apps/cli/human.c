#include "human.h"

#include <stdio.h>

const char *human_bytes(uint64_t bytes, char out[HUMAN_BYTES])
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(out, HUMAN_BYTES, "%u B", (unsigned)bytes);
        return out;
    }
    double value = (double)bytes / 1024;
    int unit = 0;
    for (; value >= 1023.95 && units[unit + 1]; unit++) value /= 1024;
    snprintf(out, HUMAN_BYTES, "%.1f %ciB", value, units[unit]);
    return out;
}

const char *human_time(uint64_t ns, char out[HUMAN_BYTES])
{
    double seconds = (double)ns * 1e-9;
    if (seconds < 1e-3)
        snprintf(out, HUMAN_BYTES, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(out, HUMAN_BYTES, "%.1f ms", seconds * 1e3);
    else if (seconds < 120)
        snprintf(out, HUMAN_BYTES, "%.1f s", seconds);
    else
        snprintf(out, HUMAN_BYTES, "%u min %u s", (unsigned)(seconds / 60), (unsigned)seconds % 60);
    return out;
}

const char *human_count(uint64_t count, char out[HUMAN_BYTES])
{
    if (count >= 1000000000)
        snprintf(out, HUMAN_BYTES, "%.1f B", (double)count * 1e-9);
    else if (count >= 1000000)
        snprintf(out, HUMAN_BYTES, "%.1f M", (double)count * 1e-6);
    else
        snprintf(out, HUMAN_BYTES, "%u", (unsigned)count);
    return out;
}

double rate_per_second(uint64_t count, uint64_t ns) { return ns == 0 ? 0 : (double)count * 1e9 / (double)ns; }
