#include "job_queue.h"

#include "base/bytes.h"

#include <assert.h>

bool job_queue_push(job_queue *q, job *j)
{
    if (q->count >= q->count_max || j->bytes > q->bytes_max - min_u64(q->bytes, q->bytes_max)) return false;
    j->next = NULL;
    if (q->last)
        q->last->next = j;
    else
        q->first = j;
    q->last = j;
    q->count++;
    q->bytes += j->bytes;
    return true;
}

job *job_queue_pop(job_queue *q)
{
    job *j = q->first;
    if (j) job_queue_remove(q, j);
    return j;
}

void job_queue_remove(job_queue *q, job *j)
{
    job *before = NULL, *at = q->first;
    while (at && at != j) {
        before = at;
        at = at->next;
    }
    assert(at == j);
    if (before)
        before->next = j->next;
    else
        q->first = j->next;
    if (q->last == j) q->last = before;
    j->next = NULL;
    q->count--;
    q->bytes -= j->bytes;
}

uint32_t job_queue_position(const job_queue *q, const job *j)
{
    uint32_t position = 1;
    for (const job *at = q->first; at; at = at->next, position++)
        if (at == j) return position;
    return 0;
}

job *job_queue_find_late(const job_queue *q, uint64_t now_ns, uint64_t *out_next_ns)
{
    *out_next_ns = UINT64_MAX;
    for (job *at = q->first; at; at = at->next) {
        const uint64_t deadline_ns = at->settings.deadline_ns;
        if (deadline_ns == 0) continue;
        if (deadline_ns <= now_ns) return at;
        *out_next_ns = min_u64(*out_next_ns, deadline_ns);
    }
    return NULL;
}
