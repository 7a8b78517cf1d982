#include "slot_snapshot.h"

const char *slot_state_label(slot_state state)
{
    static const char *const labels[SLOT_STATE_COUNT] = {"idle", "prefill", "decode"};
    return labels[state];
}

const char *worker_state_label(worker_state state)
{
    static const char *const labels[] = {[WORKER_LOADING] = "loading",
                                         [WORKER_READY] = "ok",
                                         [WORKER_DRAINING] = "stopping",
                                         [WORKER_FAILED] = "failed"};
    return labels[state];
}

double slot_snapshot_load_progress(const slot_snapshot *s)
{
    if (s->worker != WORKER_LOADING && s->worker != WORKER_FAILED) return 1;
    return s->load_total > 0 ? (double)s->load_done / (double)s->load_total : 0;
}
