#include "sandbox.h"

#include "seccomp_filter.h"

#include "base/bytes.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's interface, which headers of the distribution know in part. Later members were added behind: a kernel
 * that does not know them is told a smaller size. */
typedef struct landlock_ruleset {
    uint64_t handled_files, handled_net, scoped;
} landlock_ruleset;

typedef struct __attribute__((packed)) landlock_beneath {
    uint64_t allowed;
    int32_t parent_fd;
} landlock_beneath;

enum { LANDLOCK_VERSION_FLAG = 1, LANDLOCK_BENEATH = 1 };

enum {
    MAY_EXECUTE = 1 << 0,
    MAY_WRITE_FILE = 1 << 1,
    MAY_READ_FILE = 1 << 2,
    MAY_READ_FOLDER = 1 << 3,
    MAY_REMOVE_FOLDER = 1 << 4,
    MAY_REMOVE_FILE = 1 << 5,
    MAY_MAKE_FOLDER = 1 << 7,
    MAY_MAKE_FILE = 1 << 8,
    MAY_MAKE_SOCKET = 1 << 9,
    ALL_OF_VERSION_1 = (1 << 13) - 1,
    MAY_REFER = 1 << 13,    /* version 2: rename between folders */
    MAY_TRUNCATE = 1 << 14, /* version 3 */
    MAY_CONTROL = 1 << 15,  /* version 5: ioctl on devices */
    NET_ALL = 3,            /* version 4: bind and connect of TCP */
    SCOPE_ALL = 3,          /* version 6: abstract sockets and signals of others */

    READING = MAY_READ_FILE | MAY_READ_FOLDER,
    WRITING = READING | MAY_WRITE_FILE | MAY_REMOVE_FILE | MAY_MAKE_FOLDER | MAY_MAKE_FILE | MAY_TRUNCATE,
    APPENDING = MAY_WRITE_FILE | MAY_MAKE_FILE,
    OF_FILES = MAY_EXECUTE | MAY_WRITE_FILE | MAY_READ_FILE | MAY_TRUNCATE | MAY_CONTROL,
};

static uint64_t rights_of_version(int version)
{
    uint64_t rights = ALL_OF_VERSION_1;
    if (version >= 2) rights |= MAY_REFER;
    if (version >= 3) rights |= MAY_TRUNCATE;
    if (version >= 5) rights |= MAY_CONTROL;
    return rights;
}

static uint64_t rights_of_access(sandbox_access access)
{
    static const uint64_t rights[] = {[SANDBOX_READ] = READING,
                                      [SANDBOX_WRITE] = WRITING,
                                      [SANDBOX_APPEND] = APPENDING,
                                      [SANDBOX_REMOVE] = MAY_REMOVE_FILE};
    return rights[access];
}

static bool allow(int ruleset, const sandbox_path *path, uint64_t known)
{
    struct stat s;
    landlock_beneath rule = {.allowed = rights_of_access(path->access) & known, .parent_fd = path->fd};
    if (path->fd < 0 || fstat(path->fd, &s) != 0) return true;
    if (!S_ISDIR(s.st_mode)) rule.allowed &= OF_FILES;
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BENEATH, &rule, 0) == 0;
}

static int enter_landlock(const sandbox_path *paths, uint32_t count)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
    if (version < 1) return 0;
    const uint64_t known = rights_of_version((int)version);
    landlock_ruleset rules = {
        .handled_files = known, .handled_net = version >= 4 ? NET_ALL : 0, .scoped = version >= 6 ? SCOPE_ALL : 0};
    size_t bytes = version >= 6   ? sizeof rules
                   : version >= 4 ? offsetof(landlock_ruleset, scoped)
                                  : offsetof(landlock_ruleset, handled_net);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, bytes, 0);
    if (ruleset < 0) return 0;
    bool is_good = true;
    for (uint32_t i = 0; i < count; i++) is_good = is_good && allow(ruleset, &paths[i], known);
    is_good = is_good && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return is_good ? (int)version : 0;
}

leat_status sandbox_enter(sandbox_mode mode, const sandbox_path *paths, uint32_t path_count, sandbox_report *out_report,
                          leat_error *error)
{
    *out_report = (sandbox_report){0};
    if (mode == SANDBOX_OFF) return LEAT_OK;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
        out_report->landlock_version = enter_landlock(paths, path_count);
        out_report->has_seccomp = seccomp_filter_enter(mode == SANDBOX_STRICT);
    }
    if (out_report->landlock_version == 0)
        out_report->missing = out_report->has_seccomp ? "Landlock" : "Landlock and seccomp";
    else if (!out_report->has_seccomp)
        out_report->missing = seccomp_filter_is_built() ? "seccomp" : "seccomp (this program was built without it)";
    if (mode == SANDBOX_STRICT && out_report->missing)
        return FAIL(error, PERMISSION, "--sandbox strict: not to be had here: %s", out_report->missing);
    return LEAT_OK;
}
