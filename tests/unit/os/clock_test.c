#include "support/unit.h"

#include "os/clock.h"

#include <time.h>

static void counts_nanoseconds_forward(void **state)
{
    (void)state;
    uint64_t before = clock_now_ns(), last = before;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();
        assert_true(now >= last);
        last = now;
    }
    struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
    assert_true(clock_now_ns() - before >= 5000000);
    assert_true(clock_now_ns() - before < UINT64_C(60000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_nanoseconds_forward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
