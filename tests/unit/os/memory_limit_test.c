#include "support/unit.h"

#include "os/memory_limit.h"

static char root[UNIT_PATH_BYTES];
static const uint64_t MIB = 1 << 20;

static int set_up_root(void **state)
{
    (void)state;
    make_folder(root);
    write_file_text(root, "proc/meminfo",
                    "MemTotal:       16777216 kB\nMemFree:        1048576 kB\nMemAvailable:    8388608 kB\n");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    remove_folder(root);
    return 0;
}

static memory_limit read_limit(void)
{
    leat_error error;
    memory_limit limit = {0};
    assert_ok(memory_limit_read(root, &limit, &error), &error);
    assert_int_equal(limit.physical_bytes, 16384 * MIB);
    return limit;
}

static void use_v1(const char *group, const char *mounted_part)
{
    char text[512];
    snprintf(text, sizeof text, "12:cpuset:/\n5:memory:%s\n1:name=systemd:/init\n0::/init\n", group);
    write_file_text(root, "proc/self/cgroup", text);
    snprintf(text, sizeof text,
             "22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
             "31 22 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"
             "35 22 0:31 %s /sys/fs/cgroup/memory rw,nosuid shared:16 master:3 - cgroup cgroup rw,memory\n",
             mounted_part);
    write_file_text(root, "proc/self/mountinfo", text);
}

static void use_v2(const char *group)
{
    char text[512];
    snprintf(text, sizeof text, "0::%s\n", group);
    write_file_text(root, "proc/self/cgroup", text);
    write_file_text(root, "proc/self/mountinfo",
                    "22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
                    "31 22 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
}

static void without_groups_there_is_no_limit(void **state)
{
    (void)state;
    memory_limit limit = read_limit();
    assert_int_equal(limit.available_bytes, 8192 * MIB);
    assert_int_equal(limit.cgroup_limit_bytes, UINT64_MAX);
    assert_int_equal(limit.cgroup_free_bytes, UINT64_MAX);
    assert_int_equal(memory_limit_ceiling(&limit), 16384 * MIB);
}

static void meminfo_must_be_there(void **state)
{
    (void)state;
    leat_error error;
    memory_limit limit = {.physical_bytes = 77};
    write_file_text(root, "proc/meminfo", "MemFree: 5 kB\n");
    assert_fails(IO, memory_limit_read(root, &limit, &error), &error);
    assert_int_equal(limit.physical_bytes, 77);
    assert_text_has(error.text, "MemTotal");
    write_file_text(root, "proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1024 kB\n");
    assert_int_equal(read_limit().available_bytes, MIB); /* before Linux 3.14 */
}

static void v1_limit_and_idle_cache(void **state)
{
    (void)state;
    use_v1("/user/job", "/");
    write_file_text(root, "sys/fs/cgroup/memory/user/job/memory.limit_in_bytes", "1073741824\n");
    write_file_text(root, "sys/fs/cgroup/memory/user/job/memory.usage_in_bytes", "629145600\n");
    write_file_text(root, "sys/fs/cgroup/memory/user/job/memory.stat",
                    "cache 1\ninactive_file 7\ntotal_inactive_file 104857600\n");
    memory_limit limit = read_limit();
    assert_int_equal(limit.cgroup_limit_bytes, 1024 * MIB);
    assert_int_equal(limit.cgroup_free_bytes, (1024 - 600 + 100) * MIB);
    assert_int_equal(memory_limit_ceiling(&limit), 1024 * MIB);
}

/* Whose leases count against a group: those of processes below the outermost limit. */
static void memberships(void **state)
{
    (void)state;
    char group[OS_PATH_BYTES] = "/user/1000/a";
    cgroup_cut_membership(group, 0);
    assert_string_equal(group, "/user/1000/a");
    cgroup_cut_membership(group, 2);
    assert_string_equal(group, "/user");
    assert_true(cgroup_contains(group, "/user"));
    assert_true(cgroup_contains(group, "/user/1000/b"));
    assert_false(cgroup_contains(group, "/username"));
    assert_false(cgroup_contains(group, "/"));
    cgroup_cut_membership(group, 7);
    assert_string_equal(group, "/");
    assert_true(cgroup_contains(group, "/") && cgroup_contains(group, "/system/b"));
    assert_false(cgroup_contains(group, "/../outside"));

    use_v1("/user/job", "/");
    write_file_text(root, "proc/77/cgroup", "5:memory:/user/other\n0::/init\n");
    assert_true(cgroup_membership(root, 0, "memory", group));
    assert_string_equal(group, "/user/job");
    assert_true(cgroup_membership(root, 77, "memory", group));
    assert_string_equal(group, "/user/other");
    assert_false(cgroup_membership(root, 78, "memory", group));
}

static void the_outermost_limit_is_known(void **state)
{
    (void)state;
    assert_int_equal(read_limit().cgroup_up, CGROUP_NONE);
    use_v1("/user/outer/inner", "/");
    assert_int_equal(read_limit().cgroup_up, CGROUP_NONE);
    write_file_text(root, "sys/fs/cgroup/memory/user/outer/inner/memory.limit_in_bytes", "1073741824\n");
    assert_int_equal(read_limit().cgroup_up, 0);
    write_file_text(root, "sys/fs/cgroup/memory/user/outer/memory.limit_in_bytes", "4294967296\n");
    assert_int_equal(read_limit().cgroup_up, 1);
}

static void v1_huge_values_mean_none(void **state)
{
    (void)state;
    use_v1("/job", "/");
    write_file_text(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    write_file_text(root, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "629145600\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, UINT64_MAX);
    assert_int_equal(read_limit().cgroup_free_bytes, UINT64_MAX);
}

static void v1_outer_groups_bind_too(void **state)
{
    (void)state;
    use_v1("/outer/inner", "/");
    write_file_text(root, "sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", "4294967296\n");
    write_file_text(root, "sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", "1048576\n");
    write_file_text(root, "sys/fs/cgroup/memory/outer/memory.limit_in_bytes", "2147483648\n");
    write_file_text(root, "sys/fs/cgroup/memory/outer/memory.usage_in_bytes", "2040109466\n");
    memory_limit limit = read_limit();
    assert_int_equal(limit.cgroup_limit_bytes, 2048 * MIB);
    assert_int_equal(limit.cgroup_free_bytes, 2147483648u - 2040109466u);
}

/* The group's path is the host's; the mount shows only the container's part of the tree. */
static void v1_container_sees_its_part(void **state)
{
    (void)state;
    use_v1("/docker/abc", "/docker/abc");
    write_file_text(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
    write_file_text(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    use_v1("/docker/abc", "/somewhere/else"); /* nothing in common: the mount's root is the best guess */
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    use_v1("/docker/abc/sub", "/docker/abc");
    write_file_text(root, "sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "268435456\n");
    write_file_text(root, "sys/fs/cgroup/memory/sub/memory.usage_in_bytes", "0\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 256 * MIB);
    use_v1("/docker/abcdef", "/docker/abc"); /* a longer name is not a group below */
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
}

static void v1_reports_limits_above_the_mount(void **state)
{
    (void)state;
    use_v1("/docker/abc", "/docker/abc");
    write_file_text(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file_text(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    write_file_text(root, "sys/fs/cgroup/memory/memory.stat",
                    "hierarchical_memory_limit 805306368\ntotal_inactive_file 0\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 768 * MIB);
}

static void v2_walks_to_the_root(void **state)
{
    (void)state;
    use_v2("/user.slice/app.scope");
    write_file_text(root, "sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n");
    write_file_text(root, "sys/fs/cgroup/user.slice/app.scope/memory.current", "1048576\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, UINT64_MAX);
    write_file_text(root, "sys/fs/cgroup/user.slice/memory.max", "3221225472\n");
    write_file_text(root, "sys/fs/cgroup/user.slice/memory.current", "2147483648\n");
    write_file_text(root, "sys/fs/cgroup/user.slice/memory.stat", "anon 1\nfile 3\ninactive_file 1073741824\n");
    memory_limit limit = read_limit();
    assert_int_equal(limit.cgroup_limit_bytes, 3072 * MIB);
    assert_int_equal(limit.cgroup_free_bytes, 2048 * MIB);
    write_file_text(root, "sys/fs/cgroup/user.slice/app.scope/memory.max", "1073741824\n");
    limit = read_limit();
    assert_int_equal(limit.cgroup_limit_bytes, 1024 * MIB);
    assert_int_equal(limit.cgroup_free_bytes, 1023 * MIB);
}

static void v2_high_counts_as_a_limit(void **state)
{
    (void)state;
    use_v2("/job");
    write_file_text(root, "sys/fs/cgroup/job/memory.max", "max\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.high", "1073741824\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.current", "2147483648\n"); /* over it: nothing is free */
    memory_limit limit = read_limit();
    assert_int_equal(limit.cgroup_limit_bytes, 1024 * MIB);
    assert_int_equal(limit.cgroup_free_bytes, 0);
}

static void v2_in_a_namespace(void **state)
{
    (void)state;
    use_v2("/"); /* the usual container */
    write_file_text(root, "sys/fs/cgroup/memory.max", "536870912\n");
    write_file_text(root, "sys/fs/cgroup/memory.current", "0\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    use_v2("/../../system.slice/x"); /* entered from outside */
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    write_file_text(root, "sys/fs/other/memory.max", "1048576\n");
    use_v2("/../other");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    use_v2("/not/there");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
}

static void without_mountinfo_the_usual_place_is_tried(void **state)
{
    (void)state;
    write_file_text(root, "proc/self/cgroup", "0::/job\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.max", "536870912\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.current", "0\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
    write_file_text(root, "proc/self/cgroup", "4:memory:/job\n");
    write_file_text(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "268435456\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 256 * MIB);
}

static void mount_points_may_hold_spaces(void **state)
{
    (void)state;
    write_file_text(root, "proc/self/cgroup", "0::/job\n");
    write_file_text(root, "proc/self/mountinfo", "garbage\n\n31 22 0:27 / /my\\040cg rw - cgroup2 cgroup2 rw\n");
    write_file_text(root, "my cg/job/memory.max", "536870912\n");
    assert_int_equal(read_limit().cgroup_limit_bytes, 512 * MIB);
}

static void garbage_is_no_limit(void **state)
{
    (void)state;
    const char *texts[] = {"", "\n", ":", "::", "0:", "0::", "0::job\n", "memory\n", "5:memory\n", ":::::\n", "0::/\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_file_text(root, "proc/self/cgroup", texts[i]);
        write_file_text(root, "proc/self/mountinfo", i % 2 ? " - \n - - -\n1 2 3 4 5 - cgroup2\n" : "");
        assert_int_equal(read_limit().cgroup_limit_bytes, UINT64_MAX);
    }
}

static void the_real_machine_answers(void **state)
{
    (void)state;
    leat_error error;
    memory_limit limit;
    assert_ok(memory_limit_read("", &limit, &error), &error);
    assert_true(limit.physical_bytes >= 64 * MIB);
    assert_true(limit.available_bytes <= limit.physical_bytes);
    assert_true(memory_limit_ceiling(&limit) <= limit.physical_bytes);
}

static void resident_memory_follows_what_is_touched(void **state)
{
    (void)state;
    if (!has_proc()) skip_because("/proc is not mounted");
    uint64_t before = process_rss_bytes();
    assert_true(before > 0);
    size_t bytes = 64 * MIB;
    char *block = malloc(bytes);
    for (size_t i = 0; i < bytes; i += 1024) ((volatile char *)block)[i] = 1;
    assert_true(process_rss_bytes() >= before + 60 * MIB);
    free(block);
    assert_true(process_rss_peak_bytes() >= before + 60 * MIB);
}

#define with_root(test) cmocka_unit_test_setup_teardown(test, set_up_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_root(without_groups_there_is_no_limit),
        with_root(meminfo_must_be_there),
        with_root(v1_limit_and_idle_cache),
        with_root(memberships),
        with_root(the_outermost_limit_is_known),
        with_root(v1_huge_values_mean_none),
        with_root(v1_outer_groups_bind_too),
        with_root(v1_container_sees_its_part),
        with_root(v1_reports_limits_above_the_mount),
        with_root(v2_walks_to_the_root),
        with_root(v2_high_counts_as_a_limit),
        with_root(v2_in_a_namespace),
        with_root(without_mountinfo_the_usual_place_is_tried),
        with_root(mount_points_may_hold_spaces),
        with_root(garbage_is_no_limit),
        cmocka_unit_test(the_real_machine_answers),
        cmocka_unit_test(resident_memory_follows_what_is_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
