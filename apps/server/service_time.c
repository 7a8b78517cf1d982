#include "service_time.h"

void service_time_add(service_time *t, uint64_t ns)
{
    const double s = (double)ns * 1e-9;
    t->mean_s = t->count == 0 ? s : t->mean_s + (s - t->mean_s) / 4;
    if (t->count < UINT32_MAX) t->count++;
}

uint32_t service_time_retry_after(const service_time *t, uint32_t queue_length, uint64_t running_ns)
{
    const double running_s = (double)running_ns * 1e-9;
    const double mean_s = t->count > 0 ? t->mean_s : running_s;
    /* A job that takes longer than most is expected to take as long again as a quarter of the mean. */
    const double left_s = running_s < 0.75 * mean_s ? mean_s - running_s : 0.25 * mean_s;
    const double wait_s = left_s + mean_s * queue_length;
    if (wait_s >= RETRY_AFTER_MAX_S) return RETRY_AFTER_MAX_S;
    const uint32_t whole_s = (uint32_t)wait_s;
    const uint32_t up_s = whole_s + ((double)whole_s < wait_s);
    return up_s < RETRY_AFTER_MIN_S ? RETRY_AFTER_MIN_S : up_s;
}
