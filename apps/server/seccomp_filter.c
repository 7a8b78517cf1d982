#include "seccomp_filter.h"

#if !defined(HAVE_SECCOMP) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_BUILT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_BUILT 0
#else
#define IS_BUILT 1
#endif
#else
#define IS_BUILT 1
#endif

bool seccomp_filter_is_built(void) { return IS_BUILT; }

#if !IS_BUILT

bool seccomp_filter_enter(bool is_strict)
{
    (void)is_strict;
    return false;
}

#else

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* By name: a call that this architecture or this libseccomp does not know is passed over. */
static const char *const allowed[] = {
    /* files that are open, and those that Landlock lets be opened */
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "lseek",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "flock",
    "open",
    "openat",
    "openat2",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "readahead",
    "fchmod",
    "umask",
    "sync_file_range",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    /* sockets that are there */
    "accept",
    "accept4",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "sendfile",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "pipe2",
    "timerfd_create",
    "timerfd_settime",
    "signalfd4",
    /* memory */
    "brk",
    "munmap",
    "madvise",
    "mremap",
    "mincore",
    "mlock",
    "mlock2",
    "munlock",
    "msync",
    "membarrier",
    "mbind",
    "get_mempolicy",
    "set_mempolicy",
    /* threads and time */
    "futex",
    "futex_waitv",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "gettid",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "getcpu",
    "ioprio_get",
    "getpriority",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "restart_syscall",
    "exit",
    "exit_group",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "rt_sigpending",
    "rt_sigsuspend",
    "sigaltstack",
    /* facts */
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrandom",
    "getrusage",
    "getrlimit",
    "sysinfo",
    "uname",
    "times",
};

static bool allow_names(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
        int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number >= 0 && seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) != 0) return false;
    }
    return true;
}

/* Calls that are good or bad by their arguments; the bad ones fail in every mode, since callers know what to do then.
 */
static bool allow_some(scmp_filter_ctx filter, bool is_strict)
{
    const scmp_datum_t names[] = {PR_SET_NAME, PR_GET_NAME, 0x53564d41 /* PR_SET_VMA: names of mappings */};
    const scmp_datum_t controls[] = {FIONREAD, FIONBIO, 0x5401 /* TCGETS: isatty */, TIOCGWINSZ};
    const uint32_t deny = SCMP_ACT_ERRNO(EPERM);
    int wrong = 0;
    if (is_strict) {
        wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        wrong |= seccomp_rule_add(filter, deny, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
        wrong |=
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        wrong |=
            seccomp_rule_add(filter, deny, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    } else { /* the tokenizer's regular expressions are compiled to machine code */
        wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 0);
        wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 0);
    }
    wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* Signals and limits: nobody's but our own. abort() sends one. */
    const scmp_datum_t own = (scmp_datum_t)getpid();
    wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, own, 0));
    wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0, 0));
    wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, own, 0));
    /* The flags of clone3 lie in memory, where a filter cannot look: the C library then uses clone. */
    wrong |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, names[i], 0));
    for (size_t i = 0; i < ARRAY_COUNT(controls); i++)
        wrong |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, controls[i], 0));
    return wrong == 0;
}

bool seccomp_filter_enter(bool is_strict)
{
    scmp_filter_ctx filter = seccomp_init(is_strict ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
    if (!filter) return false;
    bool is_loaded = allow_names(filter) && allow_some(filter, is_strict) && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return is_loaded;
}

#endif
