/*
 * cgroup.h - where this process's control group lies in the file system, for one controller, v1 or v2.
 *
 * Three files say it: /proc/self/cgroup names the group, /proc/self/mountinfo the mount point and which part of the
 * tree is mounted there. In a container the two may not match (the group's path is the host's, the mount shows only the
 * container's part); then the mount's root is the best that can be known.
 */
#ifndef OS_CGROUP_H
#define OS_CGROUP_H

#include "os/text_lines.h"

#define CGROUP_NONE UINT32_MAX /* instead of a number of groups on the way up */

typedef struct cgroup_dir {
    bool is_v2;
    size_t mount_bytes;       /* path[0..mount_bytes) is the mount point: the walk to the root ends there */
    char path[OS_PATH_BYTES]; /* of the group itself, `root` in front */
} cgroup_dir;

/* `controller` is "memory" or "cpu". false: this process is in no such group. */
MUST_CHECK bool cgroup_find(const char *root, const char *controller, cgroup_dir *out_dir);
/* Cuts the path to the parent's; false at the mount point. */
MUST_CHECK bool cgroup_to_parent(cgroup_dir *dir);
/* The group of a process (0: this one) as /proc has it, which need not be a path that can be opened. */
MUST_CHECK bool cgroup_membership(const char *root, long pid, const char *controller, char out_group[OS_PATH_BYTES]);
/* Of such paths: cuts the last `up` names, at most to "/"; whether `member` is `group` or a group inside it. */
void cgroup_cut_membership(char *group, uint32_t up);
bool cgroup_contains(const char *group, const char *member);
/* The first number of DIR/`name`. */
MUST_CHECK bool cgroup_read_u64(const cgroup_dir *dir, const char *name, uint64_t *out_value);
/* The number after `key` in DIR/`name`. */
MUST_CHECK bool cgroup_read_field(const cgroup_dir *dir, const char *name, const char *key, uint64_t *out_value);

#endif
