#include "support/unit.h"

#include "os/memory_pressure.h"

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

static memory_pressure read_pressure(void)
{
    memory_pressure_reader reader;
    memory_pressure p;
    memory_pressure_init(&reader, root);
    memory_pressure_read(&reader, &p);
    return p;
}

static void use_group(const char *membership, const char *mount)
{
    char text[256];
    write_file_text(root, "proc/self/cgroup", membership);
    snprintf(text, sizeof text, "31 22 0:27 / /sys/fs/cgroup rw - %s\n", mount);
    write_file_text(root, "proc/self/mountinfo", text);
}

static void a_machine_without_anything(void **state)
{
    (void)state;
    const memory_pressure p = read_pressure();
    assert_int_equal(p.physical_bytes, 16384 * MIB);
    assert_int_equal(p.available_bytes, 8192 * MIB);
    assert_int_equal(p.group_limit_bytes, UINT64_MAX);
    assert_int_equal(p.group_free_bytes, UINT64_MAX);
    assert_true(p.some_avg10 == 0);
    assert_int_equal(p.group_hit_count, 0);
    write_file_text(root, "proc/meminfo", "");
    assert_int_equal(read_pressure().available_bytes, UINT64_MAX); /* not known is not scarce */
}

static void stalls_of_machine_and_group(void **state)
{
    (void)state;
    write_file_text(
        root, "proc/pressure/memory",
        "some avg10=12.34 avg60=1.00 avg300=0.00 total=5\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n");
    assert_true(read_pressure().some_avg10 > 12.33 && read_pressure().some_avg10 < 12.35);
    use_group("0::/job\n", "cgroup2 cgroup2 rw");
    write_file_text(root, "sys/fs/cgroup/job/memory.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=5\n");
    assert_true(read_pressure().some_avg10 > 12);
    write_file_text(root, "sys/fs/cgroup/job/memory.pressure", "some avg10=55.00 avg60=0.00 avg300=0.00 total=5\n");
    assert_true(read_pressure().some_avg10 == 55);
    const char *garbage[] = {"", "\n", "some\n", "some avg10=\n", "full avg10=3.00\n", "some avg10=x.y\n"};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        write_file_text(root, "proc/pressure/memory", garbage[i]);
        write_file_text(root, "sys/fs/cgroup/job/memory.pressure", garbage[i]);
        assert_true(read_pressure().some_avg10 == 0);
    }
    write_file_text(root, "proc/pressure/memory", "some avg10=99999999999999999999.00\nsome avg10=7000.5 x\n");
    assert_true(read_pressure().some_avg10 <= 101);
}

static void groups_of_v2(void **state)
{
    (void)state;
    use_group("0::/outer/job\n", "cgroup2 cgroup2 rw");
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.max", "1073741824\n");
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.high", "max\n");
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.current", "943718400\n");
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.stat",
                    "anon 1\ninactive_file 104857600\nactive_file 52428800\n");
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.events", "low 1\nhigh 20\nmax 3\noom 9\noom_kill 0\n");
    memory_pressure p = read_pressure();
    assert_int_equal(p.group_limit_bytes, 1024 * MIB);
    assert_int_equal(p.group_free_bytes, (1024 - 900 + 150) * MIB); /* all page cache */
    assert_int_equal(p.group_hit_count, 23);
    write_file_text(root, "sys/fs/cgroup/outer/job/memory.high", "964689920\n");
    p = read_pressure();
    assert_int_equal(p.group_limit_bytes, 920 * MIB);
    assert_int_equal(p.group_free_bytes, 170 * MIB);
    write_file_text(root, "sys/fs/cgroup/outer/memory.max", "1048576000\n");
    write_file_text(root, "sys/fs/cgroup/outer/memory.current", "1038090240\n");
    assert_int_equal(read_pressure().group_free_bytes, 10 * MIB); /* somebody else fills the outer one */
}

static void groups_of_v1(void **state)
{
    (void)state;
    use_group("4:memory:/job\n", "cgroup cgroup rw,memory");
    write_file_text(root, "sys/fs/cgroup/job/memory.limit_in_bytes", "1073741824\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.usage_in_bytes", "943718400\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.stat",
                    "inactive_file 1\nactive_file 2\ntotal_inactive_file 104857600\ntotal_active_file 1048576\n");
    write_file_text(root, "sys/fs/cgroup/job/memory.failcnt", "17\n");
    const memory_pressure p = read_pressure();
    assert_int_equal(p.group_limit_bytes, 1024 * MIB);
    assert_int_equal(p.group_free_bytes, (1024 - 900 + 101) * MIB);
    assert_int_equal(p.group_hit_count, 17);
}

static void the_real_machine_answers(void **state)
{
    (void)state;
    if (!has_proc()) skip_because("/proc is not mounted");
    memory_pressure_reader reader;
    memory_pressure p;
    memory_pressure_init(&reader, "");
    memory_pressure_read(&reader, &p);
    assert_true(p.physical_bytes >= 64 * MIB && p.available_bytes <= p.physical_bytes);
    assert_true(p.some_avg10 >= 0 && p.some_avg10 <= 101);
}

#define with_root(test) cmocka_unit_test_setup_teardown(test, set_up_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_root(a_machine_without_anything),
        with_root(stalls_of_machine_and_group),
        with_root(groups_of_v2),
        with_root(groups_of_v1),
        cmocka_unit_test(the_real_machine_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
