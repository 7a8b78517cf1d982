#include "support/unit.h"

#include "os/cpu_topology.h"

#include <sched.h>

static void honours_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    uint32_t all_count = cpu_usable_count();
    assert_in_range(all_count, 1, (uint32_t)CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    uint32_t one_count = cpu_usable_count();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(one_count, 1);
}

static uint32_t quota_of_v1(const char *quota, const char *period)
{
    char root[UNIT_PATH_BYTES];
    make_folder(root);
    write_file_text(root, "proc/self/cgroup", "3:cpu,cpuacct:/a/b\n0::/\n");
    write_file_text(root, "proc/self/mountinfo",
                    "30 20 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
    write_file_text(root, "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", quota);
    write_file_text(root, "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", period);
    uint32_t count = cpu_quota_count(root);
    remove_folder(root);
    return count;
}

static uint32_t quota_of_v2(const char *outer, const char *inner)
{
    char root[UNIT_PATH_BYTES];
    make_folder(root);
    write_file_text(root, "proc/self/cgroup", "0::/a/b\n");
    write_file_text(root, "proc/self/mountinfo",
                    "30 20 0:1 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    write_file_text(root, "sys/fs/cgroup/a/cpu.max", outer);
    write_file_text(root, "sys/fs/cgroup/a/b/cpu.max", inner);
    uint32_t count = cpu_quota_count(root);
    remove_folder(root);
    return count;
}

static void rounds_the_quota_up(void **state)
{
    (void)state;
    assert_int_equal(quota_of_v1("150000\n", "100000\n"), 2);
    assert_int_equal(quota_of_v1("200000\n", "100000\n"), 2);
    assert_int_equal(quota_of_v1("1000\n", "100000\n"), 1);
    assert_int_equal(quota_of_v1("-1\n", "100000\n"), UINT32_MAX);
    assert_int_equal(quota_of_v1("150000\n", "0\n"), UINT32_MAX);
    assert_int_equal(quota_of_v2("max 100000\n", "350000 100000\n"), 4);
    assert_int_equal(quota_of_v2("max 100000\n", "max 100000\n"), UINT32_MAX);
    assert_int_equal(quota_of_v2("100000 100000\n", "max 100000\n"), 1); /* an outer group binds too */
    assert_int_equal(quota_of_v2("800000 100000\n", "300000 100000\n"), 3);
    assert_int_equal(quota_of_v2("", "nonsense"), UINT32_MAX);
}

static void no_groups_no_quota(void **state)
{
    (void)state;
    char root[UNIT_PATH_BYTES];
    make_folder(root);
    assert_int_equal(cpu_quota_count(root), UINT32_MAX);
    remove_folder(root);
}

static void the_cpu_has_a_name(void **state)
{
    (void)state;
    assert_true(strlen(cpu_model_name()) > 2);
    assert_ptr_equal(cpu_model_name(), cpu_model_name());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honours_the_affinity_mask),
        cmocka_unit_test(rounds_the_quota_up),
        cmocka_unit_test(no_groups_no_quota),
        cmocka_unit_test(the_cpu_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
