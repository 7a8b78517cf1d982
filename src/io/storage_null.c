#include "io/storage_null.h"

#include <assert.h>
#include <string.h>

typedef struct storage_null {
    storage base;
    mem *ledger;
    uint64_t *tags; /* (queue_depth), submitted and not reaped, oldest first */
    uint32_t queue_depth, count;
    storage_stats stats;
} storage_null;

static bool null_try_submit(storage *s, const read_request *request)
{
    storage_null *n = (storage_null *)s;
    if (n->count == n->queue_depth) return false;
    n->tags[n->count++] = request->tag;
    n->stats.read_count++;
    return true;
}

static void null_submit(storage *s, const read_request *request)
{
    bool is_in = null_try_submit(s, request);
    assert(is_in); /* with one thread nobody else could make room */
    (void)is_in;
}

static bool null_reap(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result)
{
    storage_null *n = (storage_null *)s;
    for (uint32_t i = 0; i < n->count; i++) {
        if (n->tags[i] < tag_begin || n->tags[i] >= tag_end) continue;
        out_result->tag = n->tags[i];
        out_result->status = LEAT_OK;
        memmove(n->tags + i, n->tags + i + 1, (n->count - i - 1) * sizeof *n->tags);
        n->count--;
        return true;
    }
    return false;
}

/* Nothing is ever held back. */
static uint32_t null_cancel(storage *s, uint64_t tag_begin, uint64_t tag_end)
{
    (void)s;
    (void)tag_begin;
    (void)tag_end;
    return 0;
}

static void null_raise(storage *s, uint64_t tag_begin, uint64_t tag_end, read_class class)
{
    (void)s;
    (void)tag_begin;
    (void)tag_end;
    (void)class;
}

static void null_grant(storage *s, const read_grant *grant)
{
    (void)s;
    (void)grant;
}

static void null_limit(storage *s, const read_limits *limits)
{
    (void)s;
    (void)limits;
}

static void null_pump(storage *s) { (void)s; }

static void null_watch(storage *s, const read_watch *watch)
{
    (void)s;
    (void)watch;
}

static void null_reclaim(storage *s) { (void)s; }

static storage_stats null_stats(const storage *s) { return ((const storage_null *)s)->stats; }

static void null_close(storage **s)
{
    storage_null *n = (storage_null *)*s;
    if (n == NULL) return;
    mem *ledger = n->ledger;
    mem_free(ledger, n->tags);
    mem_free(ledger, n);
    *s = NULL;
}

static const storage_ops null_ops = {.name = "null",
                                     .submit = null_submit,
                                     .try_submit = null_try_submit,
                                     .reap = null_reap,
                                     .try_reap = null_reap,
                                     .cancel = null_cancel,
                                     .raise = null_raise,
                                     .grant = null_grant,
                                     .limit = null_limit,
                                     .pump = null_pump,
                                     .watch = null_watch,
                                     .reclaim = null_reclaim,
                                     .stats = null_stats,
                                     .close = null_close};

leat_status storage_null_open(mem *ledger, uint32_t queue_depth, storage **out_storage, leat_error *error)
{
    storage_null *n = NULL;
    TRY(MEM_NEW(ledger, IO, 1, &n, error));
    n->base.ops = &null_ops;
    n->ledger = ledger;
    n->queue_depth = queue_depth;
    leat_status status = MEM_NEW(ledger, IO, queue_depth, &n->tags, error);
    if (status != LEAT_OK) {
        mem_free(ledger, n);
        return status;
    }
    *out_storage = &n->base;
    return LEAT_OK;
}
