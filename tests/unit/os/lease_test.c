/* lease_test.c - leases of processes that live, end and are killed; files and folders that must not be trusted. */
#include "support/unit.h"

#include "os/lease.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static char root[UNIT_PATH_BYTES];
static const uint64_t MIB = 1 << 20;

static int set_up_root(void **state)
{
    (void)state;
    make_folder(root);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    remove_folder(root);
    return 0;
}

static uint32_t count_entries(void)
{
    char command[UNIT_PATH_BYTES + 32];
    int count = -1;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", root);
    FILE *in = popen(command, "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%d", &count), 1);
    pclose(in);
    return (uint32_t)count;
}

/* A child that holds a lease and touches `touched_bytes`; it says so through a pipe, and waits for its end. */
static pid_t start_holder(const lease_terms *terms, size_t touched_bytes, bool ends_by_itself)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        lease l;
        leat_error error;
        char *touched = malloc(touched_bytes + 1);
        if (!touched || lease_open(root, terms, &l, &error) != LEAT_OK) _exit(1);
        for (size_t i = 0; i < touched_bytes; i += 1024) ((volatile char *)touched)[i] = 1;
        if (write(ready[1], "x", 1) != 1) _exit(1);
        if (ends_by_itself) _exit(0); /* without lease_close */
        for (;;) pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void end_holder(pid_t child, int with_signal)
{
    if (with_signal) kill(child, with_signal);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static lease open_lease(uint64_t budget_bytes, uint64_t device)
{
    leat_error error;
    lease l;
    assert_ok(lease_open(root, &(lease_terms){budget_bytes, device, false}, &l, &error), &error);
    return l;
}

static lease_view survey(lease *l, uint64_t device)
{
    lease_view view;
    lease_survey(l, device, &view);
    return view;
}

static void alone(void **state)
{
    (void)state;
    lease l = open_lease(100 * MIB, 7);
    const lease_view view = survey(&l, 7);
    assert_int_equal(view.count, 0);
    assert_int_equal(view.machine.claimed, 0);
    assert_int_equal(lease_share_count(&l), 1);
    assert_int_equal(lease_equal_part(&view.machine, 900 * MIB, 100 * MIB), 1000 * MIB);
    assert_int_equal(count_entries(), 1);
    lease_close(&l);
    assert_int_equal(count_entries(), 0);
    lease_close(&l);
}

static void two_of_one_process(void **state)
{
    (void)state;
    lease a = open_lease(MIB, 7), b = open_lease(UINT64_C(1) << 40, 8);
    assert_int_equal(survey(&a, 7).count, 1);
    assert_int_equal(lease_share_count(&a), 1); /* the other reads from another device */
    assert_int_equal(survey(&b, 7).on_device, 1);
    assert_int_equal(lease_share_count(&b), 2);
    assert_in_range(survey(&a, 7).machine.claimed, (UINT64_C(1) << 40) - 4096 * MIB, UINT64_C(1) << 40);
    lease_change(&b, &(lease_terms){3, 7, true});
    const lease_view view = survey(&a, 7);
    assert_int_equal(view.on_device, 1);
    assert_int_equal(view.machine.flexible, 0);
    assert_int_equal(view.machine.claimed, 0); /* more is touched than leased */
    lease_close(&b);
    assert_int_equal(survey(&a, 7).count, 0);
    lease_close(&a);
}

/* What a process has touched is missing from MemAvailable already: only the rest is claimed. */
static void only_what_is_not_touched_is_claimed(void **state)
{
    (void)state;
    if (!has_proc()) skip_because("/proc is not mounted");
    lease l = open_lease(MIB, 7);
    const pid_t few = start_holder(&(lease_terms){1000 * MIB, 7, false}, 0, false);
    const lease_view before = survey(&l, 7);
    assert_int_equal(before.count, 1);
    assert_in_range(before.machine.claimed, 900 * MIB, 1000 * MIB);
    const pid_t many = start_holder(&(lease_terms){1000 * MIB, 9, true}, 300 * MIB, false);
    const lease_view both = survey(&l, 7);
    assert_int_equal(both.count, 2);
    assert_int_equal(both.machine.flexible, 1);
    assert_int_equal(both.on_device, 1);
    assert_in_range(both.machine.claimed_fixed, 600 * MIB, 700 * MIB);
    assert_in_range(both.machine.claimed, before.machine.claimed + 600 * MIB, before.machine.claimed + 700 * MIB);
    /* 4000 free, 650 or so promised to the fixed one; the rest is for two. */
    assert_in_range(lease_equal_part(&both.machine, 4000 * MIB, 0), 1650 * MIB, 1750 * MIB);
    end_holder(few, SIGKILL);
    end_holder(many, SIGKILL);
    lease_close(&l);
}

/* Without a limit no group is divided; with one, here of the own group, those in it count against it. */
static void claims_in_the_own_group(void **state)
{
    (void)state;
    char group[OS_PATH_BYTES];
    if (!cgroup_membership("", 0, "memory", group)) skip_because("this process is in no control group of memory");
    lease l = open_lease(MIB, 7);
    const pid_t other = start_holder(&(lease_terms){1000 * MIB, 7, false}, 0, false);
    assert_int_equal(survey(&l, 7).in_group.claimed, 0);
    l.group_up = 0;
    const lease_view view = survey(&l, 7);
    assert_int_equal(view.in_group.claimed, view.machine.claimed);
    assert_int_equal(view.in_group.flexible, 1);
    assert_int_equal(view.in_group.held_flexible, view.machine.held_flexible);
    assert_int_equal(lease_equal_part(&view.in_group, UINT64_MAX, 0), UINT64_MAX);
    end_holder(other, SIGKILL);
    lease_close(&l);
}

static void the_dead_hold_nothing(void **state)
{
    (void)state;
    const lease_terms terms = {1000 * MIB, 7, false};
    lease l = open_lease(MIB, 7);
    const pid_t killed = start_holder(&terms, 0, false), ended = start_holder(&terms, 0, true);
    end_holder(ended, 0);
    assert_int_equal(count_entries(), 3);
    assert_int_equal(survey(&l, 7).count, 1);
    assert_int_equal(count_entries(), 2); /* and the file is gone */
    end_holder(killed, SIGKILL);
    assert_int_equal(survey(&l, 7).count, 0);
    assert_int_equal(count_entries(), 1);
    lease_close(&l);
}

/* Children and programs that a process starts do not keep its lease alive. */
static void a_lease_does_not_outlive_its_process_in_a_program(void **state)
{
    (void)state;
    int ready[2];
    char text[16] = "";
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        lease l;
        leat_error error;
        if (lease_open(root, &(lease_terms){1, 1, false}, &l, &error) != LEAT_OK) _exit(1);
        const pid_t sleeper = fork();
        if (sleeper == 0) execlp("sleep", "sleep", "60", (char *)NULL);
        dprintf(ready[1], "%d", (int)sleeper);
        usleep(100000);
        _exit(0);
    }
    close(ready[1]);
    assert_true(read(ready[0], text, sizeof text - 1) > 0);
    close(ready[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    lease l = open_lease(MIB, 7);
    assert_int_equal(survey(&l, 7).count, 0);
    lease_close(&l);
    kill((pid_t)atoi(text), SIGKILL);
}

static void files_of_others_are_no_leases(void **state)
{
    (void)state;
    const char *texts[] = {"",
                           "leat 1 1 99999999999 7 0 0000000000000000\n",
                           "leat 2 1 5 5 0\n",
                           "leat 1 1 184467440737095516159 7 0 1\n",
                           "x",
                           "leat 1 -5 1 1 1 1 1 1 1 1\n"};
    char path[UNIT_PATH_BYTES + 16];
    lease l = open_lease(MIB, 7);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_file_text(root, "1.0", texts[i]);
        snprintf(path, sizeof path, "%s/1.0", root);
        const int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX), 0); /* as if it lived */
        assert_int_equal(survey(&l, 7).count, 0);
        close(fd);
    }
    snprintf(path, sizeof path, "%s/2.0", root);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof path, "%s/3.0", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    write_file_text(root, "notes", "not ours");
    assert_int_equal(survey(&l, 7).count, 0);
    snprintf(path, sizeof path, "%s/notes", root);
    assert_int_equal(access(path, F_OK), 0);
    lease_close(&l);
}

static void refused(const char *folder, const char *why)
{
    leat_error error;
    lease l;
    assert_fails(IO, lease_open(folder, &(lease_terms){1, 1, false}, &l, &error), &error);
    assert_text_has(error.text, why);
    lease_view view = survey(&l, 1); /* all others go on without */
    assert_int_equal(view.count, 0);
    assert_int_equal(lease_share_count(&l), 1);
    lease_close(&l);
}

static void folders_that_others_could_write_are_refused(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES + 16], link[UNIT_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/folder", root);
    snprintf(link, sizeof link, "%s/link", root);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0770), 0);
    refused(path, "mode 0700");
    assert_int_equal(chmod(path, 0701), 0);
    refused(path, "mode 0700");
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(symlink(path, link), 0);
    refused(link, "cannot be opened");
    write_file_text(root, "file", "");
    snprintf(link, sizeof link, "%s/file", root);
    refused(link, "cannot be opened");
    snprintf(link, sizeof link, "%s/none/none", root);
    refused(link, "cannot be made");
    if (geteuid() != 0) {
        print_message("[  NOTE    ] not root: folders of another owner were not tried\n");
        return;
    }
    assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    refused(path, "mode 0700");
}

static void the_folder_of_the_session_is_used(void **state)
{
    (void)state;
    char before[UNIT_PATH_BYTES] = "", path[UNIT_PATH_BYTES + 64];
    const char *old = getenv("XDG_RUNTIME_DIR");
    if (old) snprintf(before, sizeof before, "%s", old);
    setenv("XDG_RUNTIME_DIR", root, 1);
    leat_error error;
    lease l, looker;
    snprintf(path, sizeof path, "%s/none", root);
    assert_fails(IO, lease_look(path, &looker, &error), &error); /* who looks makes nothing */
    assert_int_not_equal(access(path, F_OK), 0);
    assert_ok(lease_open(NULL, &(lease_terms){5, 6, false}, &l, &error), &error);
    snprintf(path, sizeof path, "%s/leat/%s", root, l.name);
    assert_int_equal(access(path, F_OK), 0);
    assert_ok(lease_look(NULL, &looker, &error), &error);
    assert_int_equal(survey(&looker, 6).count, 1);
    lease_close(&looker);
    lease_close(&l);
    if (old)
        setenv("XDG_RUNTIME_DIR", before, 1);
    else
        unsetenv("XDG_RUNTIME_DIR");
}

#define with_root(test) cmocka_unit_test_setup_teardown(test, set_up_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_root(alone),
        with_root(two_of_one_process),
        with_root(only_what_is_not_touched_is_claimed),
        with_root(claims_in_the_own_group),
        with_root(the_dead_hold_nothing),
        with_root(a_lease_does_not_outlive_its_process_in_a_program),
        with_root(files_of_others_are_no_leases),
        with_root(folders_that_others_could_write_are_refused),
        with_root(the_folder_of_the_session_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
