/*
 * storage.h - the seam to the disk: reads of extents are submitted and come back through reap, always, with a status.
 *
 * A submitted read is never lost: what fails, even at once, is reaped with its error. Unaligned extents are read as the
 * enclosing aligned window straight into the caller's buffer, and the payload lies inside it at storage_payload_offset:
 * there is no bounce copy.
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

typedef struct read_request {
    extent what;
    uint8_t *buffer;  /* storage_window_bytes(..) long, aligned to the file's memory_align */
    uint64_t tag;     /* comes back with the result */
    bool is_followed; /* another request follows at once: the system may be told of both in one call */
    read_class class;
} read_request;

typedef struct read_result {
    uint64_t tag;
    leat_status status;
    leat_error error; /* filled when status is not LEAT_OK */
} read_result;

typedef struct storage_stats {
    uint64_t read_count, window_bytes,
        payload_bytes; /* completed reads of at least a byte; bytes asked of the system; bytes wanted and got */
    uint64_t busy_ns;  /* time during which at least one read was queued or under way; threads notice at once that one
                          is done, io_uring at the next call of the storage */
    uint64_t read_ns;  /* sum over reads */
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
    /* false, and nothing is submitted, when the queue is full. */
    bool (*try_submit)(storage *s, const read_request *request);
    /* Takes one result whose tag lies in [tag_begin, tag_end); waits for it. false when no such read is in flight. */
    bool (*reap)(storage *s, uint64_t tag_begin, uint64_t tag_end, read_result *out_result);
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
