/*
 * storage.h - the seam to the disk: reads of extents are submitted and come back through reap, always, with a status.
 *
 * A submitted read is never lost: what fails, even at once, is reaped with its error. Unaligned extents are read as the
 * enclosing aligned window straight into the caller's buffer, and the payload lies inside it at storage_payload_offset:
 * there is no bounce copy.
 *
 * A read says why it is wanted (its class), and the urgent ones are started first; what is held back
 * (src/io/io_sched.h) can still be given up or be made more urgent.
 *
 * Implementers: `threads` (a pool of pread threads), `uring` (io_uring, where it was built in and the system lets us);
 * in tests a simulator (tests/support/storage_sim.h).
 * Threads: submit and reap from any thread.
 */
#ifndef IO_STORAGE_H
#define IO_STORAGE_H

#include "base/mem.h"
#include "os/file.h"

/* The only thing the I/O layer knows about a model. */
typedef struct extent {
    uint32_t file_idx;
    uint64_t offset, bytes; /* bytes may be 0: nothing is read */
} extent;

/* A set of open files that extents refer to. Borrowed by the storage; the owner closes them after it. */
typedef struct file_set {
    const file *files;
    const char *const *names; /* for errors */
    uint32_t count;
} file_set;

/* Why a read is wanted, the most urgent first. */
typedef enum read_class {
    READ_DEMAND,     /* somebody waits for it */
    READ_CERTAIN,    /* will be needed, and nobody waits yet */
    READ_LOOK_AHEAD, /* a guess */
    READ_BACKGROUND, /* of use some day */
    READ_CLASS_COUNT
} read_class;

/* Of a class and those less urgent than it: how many reads and bytes may be under way at a time. At least 1 each; one
 * read always may. */
typedef struct read_limits {
    uint32_t reads[READ_CLASS_COUNT];
    uint64_t bytes[READ_CLASS_COUNT];
} read_limits;

/* Demand: as deep as any disk wants it. Certain: the weight ring's pieces all at once, with as many places left for
 * demand. Guesses: what a disk reads in a few milliseconds, which is what a demand that comes behind them waits,
 * and not before what is urgent has nearly come: until then they would only share the disk with it.
 * Measured (docs/measurements/storage.md). */
#define READ_LIMITS_DEFAULT                                                                                            \
    {                                                                                                                  \
        .reads = {64, 32, 48, 4}, .bytes = { UINT64_MAX, UINT64_MAX, 16u << 20, 1u << 20 }                             \
    }

/* What guesses may read: `bytes` at once, and later what bytes_per_s brings, up to `bytes` again. */
typedef struct read_grant {
    uint64_t bytes; /* READ_GRANT_UNLIMITED: they are not paced */
    uint64_t bytes_per_s;
} read_grant;
#define READ_GRANT_UNLIMITED UINT64_MAX

/* For how long reap waits. */
typedef struct read_watch {
    const volatile int *cancel; /* base/cancel.h; may be NULL */
    uint64_t patience_ns;       /* with a read that has begun */
} read_watch;
#define READ_PATIENCE_ENDLESS UINT64_MAX
#define READ_PATIENCE_NS      UINT64_C(60000000000) /* longer than a disk collects garbage, or spins up */
#define READ_CANCEL_NS        UINT64_C(1000000000) /* patience while the flag is set: longer than a healthy disk takes */

typedef struct read_request {
    extent what;
    uint8_t *buffer;  /* storage_window_bytes(..) long, aligned to the file's memory_align */
    uint64_t tag;     /* comes back with the result */
    bool is_followed; /* another request follows at once: the system may be told of both in one call */
    read_class class;
    uint64_t deadline_ns; /* of clock_now_ns; within a class the earliest goes first, and 0, none, last */
} read_request;

typedef struct read_result {
    uint64_t tag;
    leat_status status;
    leat_error error; /* filled when status is not LEAT_OK; LEAT_CANCELLED: given up before it began */
} read_result;

typedef struct storage_stats {
    uint64_t read_count, window_bytes,
        payload_bytes; /* completed reads of at least a byte; bytes asked of the system; bytes wanted and got */
    uint64_t busy_ns;  /* time during which at least one read was under way; threads notice at once that one is done,
                          io_uring at the next call of the storage */
    uint64_t read_ns;  /* sum over reads */
    uint64_t class_bytes[READ_CLASS_COUNT]; /* window_bytes by the class that a read had at its end */
    uint64_t copied_bytes;    /* of payload_bytes: read through the page cache, out of which the system copied them */
    uint64_t cancelled_count; /* not among read_count */
    uint64_t retry_count;     /* reads that failed and were tried again */
    uint32_t flying_count;    /* under way now */
    uint32_t lost_count;      /* of those: given up, and still with the system */
    extent last_failed;       /* of the reads that ended with LEAT_IO; bytes 0: none has */
} storage_stats;

/* What reads. STORAGE_AUTO: what was measured to be best (docs/measurements/storage.md). */
typedef enum storage_kind { STORAGE_AUTO, STORAGE_THREADS, STORAGE_URING } storage_kind;

typedef struct storage storage;
typedef struct storage_ops {
    storage_kind kind; /* STORAGE_AUTO: none of the engine's own */
    const char *name;
    /* Blocks while the queue is full, that is while queue_depth reads have been submitted and not yet been reaped. A
     * thread that also reaps must not rely on it: it submits with try_submit and reaps one of its own when that says
     * no. */
    void (*submit)(storage *s, const read_request *request);
    /* false, and nothing is submitted, when the queue is full. For guesses (look-ahead, background) it is full when
     * they have half of it: they never keep others out. */
    bool (*try_submit)(storage *s, const read_request *request);
    /* Takes one result whose tag lies in [tag_begin, tag_end); waits for it. false when no such read is in flight. When
     * all that he could wait for is still held back, the first of it becomes a demand. */
    bool (*reap)(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result);
    /* The same without waiting: false when none is done. */
    bool (*try_reap)(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result);
    /* Gives up the reads with such tags that have not begun: they come back through reap with LEAT_CANCELLED. Those
     * under way end as usual. How many were given up. */
    uint32_t (*cancel)(storage *s, uint64_t tag_begin, uint64_t tag_end);
    /* The reads with such tags that have not begun get a more urgent class. */
    void (*raise)(storage *s, uint64_t tag_begin, uint64_t tag_end, read_class class);
    /* How much guesses may read from now on; unlimited after open. */
    void (*grant)(storage *s, const read_grant *grant);
    /* How deep each class may be under way; READ_LIMITS_DEFAULT after open. */
    void (*limit)(storage *s, const read_limits *limits);
    /* Starts what may be started now. Every call of the storage does it; for who computes long without one. */
    void (*pump)(storage *s);
    /* From now on reap gives up a read when its patience is over, or the cancel flag is set: the read comes back with
     * LEAT_IO and ETIME or ECANCELED. The system may still have it, and write to its place at any later time. Until
     * that is over, reads to that place are held back; nothing else may use it, and nobody free it (reclaim). After
     * open patience is endless. */
    void (*watch)(storage *s, const read_watch *watch);
    /* Before places are freed: nothing is given up any more, and the system has nothing left that was. */
    void (*reclaim)(storage *s);
    storage_stats (*stats)(const storage *s);
    void (*close)(storage **s); /* waits for reads in flight; their results are dropped */
} storage_ops;

struct storage {
    const storage_ops *ops;
};

/* How many bytes the window of `what` takes in a buffer (a multiple of both alignments of its file, so that windows can
 * be packed one after the other; UINT64_MAX when the extent's end does not fit 64 bits), and where in it the payload
 * starts. */
uint64_t storage_window_bytes(const file_set *files, const extent *what);
uint64_t storage_payload_offset(const file_set *files, const extent *what);

/* What storage_open would open now: never STORAGE_AUTO, and threads where there is no io_uring. */
storage_kind storage_resolve(storage_kind wanted, uint32_t queue_depth);
/* What storage_open takes from MEM_IO; thread_count is of no use to io_uring. */
uint64_t storage_bytes(storage_kind kind, uint32_t thread_count, uint32_t queue_depth);
/* Where the system refuses io_uring (a sandbox, an old kernel, a limit on locked memory): threads, and a line to the
 * log. */
MUST_CHECK leat_status storage_open(storage_kind wanted, mem *ledger, const file_set *files, uint32_t thread_count,
                                    uint32_t queue_depth, storage **out_storage, leat_error *error);

/* One by one; what open takes from MEM_IO. */
uint64_t storage_threads_bytes(uint32_t thread_count, uint32_t queue_depth);
MUST_CHECK leat_status storage_threads_open(mem *ledger, const file_set *files, uint32_t thread_count,
                                            uint32_t queue_depth, storage **out_storage, leat_error *error);

/* Built where liburing is. The ring's pages, which the kernel maps, are charged to the ledger. LEAT_IO: the system
 * refuses. */
bool storage_uring_is_usable(uint32_t queue_depth);
uint64_t storage_uring_bytes(uint32_t queue_depth);
MUST_CHECK leat_status storage_uring_open(mem *ledger, const file_set *files, uint32_t queue_depth,
                                          storage **out_storage, leat_error *error);

#endif
