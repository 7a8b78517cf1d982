/*
 * lease.h - processes of one user that run models on one machine tell each other how much memory they mean to use, so
 * that they divide it instead of each taking all of it.
 *
 * Each has one small file in a folder of the user's ($XDG_RUNTIME_DIR/leat, /run/user/UID/leat or /tmp/leat-UID, mode
 * 0700, of the user's own, never a symbolic link). The owner holds a lock (flock) on it for as long as the lease lives.
 * The kernel drops the lock when the process ends, however it ends, so a file without a lock is void: whoever finds one
 * removes it. What a file says is the owner's intent and nothing more; what a process has touched is asked of the
 * kernel.
 *
 * Threads: lease_share_count from any; the others from one thread at a time. No memory is allocated.
 */
#ifndef OS_LEASE_H
#define OS_LEASE_H

#include "base/status.h"
#include "os/cgroup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LEASE_NAME_BYTES = 32 };

typedef struct lease_terms {
    uint64_t budget_bytes; /* what the process may come to hold */
    uint64_t device;       /* of the model's files (st_dev) */
    bool is_fixed;         /* a promise to the user: it does not shrink for others */
} lease_terms;

typedef struct lease {
    int folder_fd, fd;           /* fd -1: none is held */
    char name[LEASE_NAME_BYTES]; /* in the folder */
    lease_terms terms;           /* as last written */
    uint32_t group_up;           /* memory_limit.cgroup_up of the own process, as its owner last read it */
    _Atomic uint32_t share_count;
} lease;

typedef struct lease_claims {
    uint32_t flexible;      /* leases that are not fixed */
    uint64_t claimed;       /* bytes leased and not yet touched: they still count as free, but are spoken for */
    uint64_t claimed_fixed; /* of those, by fixed leases */
    uint64_t held_flexible; /* bytes that processes with flexible leases have touched */
} lease_claims;

/* The live leases of others. */
typedef struct lease_view {
    uint32_t count;        /* all of them */
    uint32_t on_device;    /* of those, with the given device */
    lease_claims machine;  /* of all: against MemAvailable */
    lease_claims in_group; /* of those in the group that group_up names, or in a group inside it: against what the
                              groups of the own process have left. Where groups with limits enclose each other that may
                              be more than fall to the tightest of them, never less. Nothing without a limit. */
} lease_view;

/* A lease that is closed and knows no folder. */
#define LEASE_NONE                                                                                                     \
    {                                                                                                                  \
        .folder_fd = -1, .fd = -1, .group_up = CGROUP_NONE                                                             \
    }

/* `folder`: NULL for the usual one. LEAT_IO, LEAT_PERMISSION: no folder can be used (text says why); the lease is then
 * LEASE_NONE. look opens a folder that is there, without leasing anything. */
MUST_CHECK leat_status lease_open(const char *folder, const lease_terms *terms, lease *out_lease, leat_error *error);
MUST_CHECK leat_status lease_look(const char *folder, lease *out_lease, leat_error *error);
/* A zeroed one is not accepted; LEASE_NONE is, here and below. */
void lease_close(lease *l);

void lease_change(lease *l, const lease_terms *terms);
/* Between these two nobody else who asks for it surveys and then leases what he found free. It is waited for: five
 * seconds, after which it is gone without (the owner may be stopped). A closed folder has no lock. */
void lease_lock(const lease *l);
void lease_unlock(const lease *l);
/* Removes void files on the way, and sets what lease_share_count says. */
void lease_survey(lease *l, uint64_t device, lease_view *out_view);

/* How many live leases, the own one included, read from the same device: work in the background should take one part in
 * so many of its depth. At least 1; as of the last survey. */
uint32_t lease_share_count(const lease *l);
/* An equal part, for the own process, of what flexible leases and free memory have together. `free_bytes`: of the
 * machine or the group that the claims are of, UINT64_MAX (no limit) gives itself; `own_held_bytes`: what the own
 * process has touched. */
uint64_t lease_equal_part(const lease_claims *claims, uint64_t free_bytes, uint64_t own_held_bytes);

/* The folder that lease_open would use, made when it is missing; for who must name it to a sandbox beforehand. The
 * caller closes it. */
MUST_CHECK leat_status lease_open_folder(int *out_fd, leat_error *error);

#endif
