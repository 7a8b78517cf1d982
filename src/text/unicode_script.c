/* unicode_script.c - see the header. */
#include "text/unicode_script.h"

#include "base/bytes.h"

static const struct {
    uint32_t first, last;
    uint8_t script;
} ranges[] = {
#define X(first, last, script) {first, last, script},
#include "text/unicode_script.inc"
#undef X
};

uint32_t unicode_script(uint32_t scalar)
{
    size_t low = 0, high = ARRAY_COUNT(ranges);
    while (low < high) { /* the first range that does not end before the character */
        const size_t middle = (low + high) / 2;
        if (ranges[middle].last < scalar)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ARRAY_COUNT(ranges) && ranges[low].first <= scalar ? ranges[low].script : SCRIPT_ANY;
}
