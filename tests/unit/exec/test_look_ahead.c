/*
 * test_look_ahead.c - the rule for how many guesses are worth their read: times are given, nothing is timed.
 */
#include "exec/look_ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MS = 1000000 };

/* Gap and record as measured many times, and guesses of which `right` of 100 were named. */
static look_ahead measured(uint64_t gap_ns, uint64_t record_ns, uint32_t right)
{
    look_ahead la = {0};
    uint64_t now_ns = MS, used = 0, wasted = 0;
    for (int i = 0; i < 200; i++) {
        look_ahead_gap_begin(&la, now_ns);
        now_ns += gap_ns;
        look_ahead_gap_end(&la, now_ns);
        look_ahead_records_came(&la, 4, 4 * record_ns);
        used += right;
        wasted += 100 - right;
        look_ahead_judge(&la, used, wasted);
        now_ns += 7 * MS;
    }
    return la;
}

static void nothing_is_guessed_before_anything_is_measured(void **state)
{
    (void)state;
    look_ahead la = {0};
    assert_int_equal(look_ahead_sweep_reads(&la, 8), 0);
    look_ahead_records_came(&la, 2, MS);
    assert_int_equal(look_ahead_sweep_reads(&la, 8), 0);
    look_ahead_gap_begin(&la, MS);
    look_ahead_gap_end(&la, 9 * MS);
    assert_true(look_ahead_sweep_reads(&la, 8) > 0);
}

static void what_is_read_fits_the_gap(void **state)
{
    (void)state;
    look_ahead la = measured(5 * MS, 1 * MS, 75);
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 5);
    assert_int_equal(look_ahead_sweep_reads(&la, 3), 3);
    la = measured(5 * MS, 2 * MS, 75); /* the third one overlaps by half, and is right more often than not */
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 3);
    la = measured(5 * MS, 2 * MS, 45); /* here it is not */
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 2);
    la = measured(1 * MS, 10 * MS, 75); /* a tenth of a read is not worth the harm of a quarter */
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 0);
}

/* Records of a set are read side by side: two together take less than twice one alone. */
static void further_records_cost_what_they_add(void **state)
{
    (void)state;
    look_ahead la = measured(5 * MS, 2 * MS, 75);
    for (int i = 0; i < 200; i++) {
        look_ahead_records_came(&la, 1, 2 * MS);
        look_ahead_records_came(&la, 3, 4 * MS);
    }
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 4);                  /* 2 + 1 + 1 + 1 */
    for (int i = 0; i < 200; i++) look_ahead_records_came(&la, 5, 1 * MS); /* no more than the clock's noise */
    assert_in_range(look_ahead_sweep_reads(&la, 32), 5, 20);
}

/* Where guesses are worth nothing they stop, but for one now and then; when they become good, that one tells. */
static void guessing_stops_where_it_does_not_pay_and_comes_back(void **state)
{
    (void)state;
    look_ahead la = measured(5 * MS, 10 * MS, 3);
    uint64_t used = la.of_rows.used_seen, wasted = la.of_rows.wasted_seen;
    uint32_t begun = 0;
    for (int i = 0; i < 1280; i++) begun += look_ahead_sweep_reads(&la, 8);
    assert_int_equal(begun, 10);
    for (int i = 0; i < 600; i++) look_ahead_judge(&la, ++used, wasted);
    assert_int_equal(look_ahead_sweep_reads(&la, 8), 1);
    assert_int_equal(look_ahead_sweep_reads(&la, 8), 1);
}

static void one_long_gap_says_nothing_and_many_do(void **state)
{
    (void)state;
    look_ahead la = measured(2 * MS, 1 * MS, 75);
    look_ahead_gap_begin(&la, MS);
    look_ahead_gap_end(&la, 3000 * (uint64_t)MS); /* the user thought about it */
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 3);
    for (int i = 0; i < 60; i++) {
        look_ahead_gap_begin(&la, MS);
        look_ahead_gap_end(&la, 31 * MS);
    }
    assert_true(look_ahead_sweep_reads(&la, 32) >= 29);
    look_ahead_gap_end(&la, 90 * MS); /* no gap had begun */
    assert_true(look_ahead_sweep_reads(&la, 32) >= 29);
}

static void off_is_off_and_on_is_on(void **state)
{
    (void)state;
    look_ahead la = measured(5 * MS, 1 * MS, 99);
    la.mode = LOOK_AHEAD_OFF;
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 0);
    la.granted_bytes = 1;
    assert_int_equal(look_ahead_reads(&la, 32), 0);
    la = (look_ahead){.mode = LOOK_AHEAD_ON};
    assert_int_equal(look_ahead_sweep_reads(&la, 32), 32);
    assert_int_equal(look_ahead_reads(&la, 32), 32);
}

/* Where the pacing controller grants nothing, nothing is guessed: routers are not asked in vain. */
static void a_step_of_one_row_guesses_what_is_granted(void **state)
{
    (void)state;
    look_ahead la = {.mode = LOOK_AHEAD_AUTO};
    assert_int_equal(look_ahead_reads(&la, 32), 0);
    la.granted_bytes = 1;
    assert_int_equal(look_ahead_reads(&la, 32), 32);
    (void)look_ahead_unpaced(&la);
    assert_int_equal(look_ahead_reads(&la, 32), 0);
}

/* How often guesses between tokens were right says nothing about those of a prompt. */
static void sweeps_are_judged_by_their_own_guesses(void **state)
{
    (void)state;
    look_ahead la = {0};
    const look_ahead_totals totals = {.used_count = 1000, .wasted_count = 1000};
    mem *ledger;
    leat_error error;
    assert_int_equal(mem_open(0, &ledger, &error), LEAT_OK);
    assert_int_equal(pacing_open(ledger, 1, 0, &la.pacing, &error), LEAT_OK);
    (void)look_ahead_paced_layer(&la, 0, MS, &totals);
    look_ahead_judge(&la, 1003, 1001);
    assert_true(la.of_rows.used == 3 && la.of_rows.wasted == 1);
    pacing_close(&la.pacing);
    mem_close(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_guessed_before_anything_is_measured),
        cmocka_unit_test(what_is_read_fits_the_gap),
        cmocka_unit_test(further_records_cost_what_they_add),
        cmocka_unit_test(guessing_stops_where_it_does_not_pay_and_comes_back),
        cmocka_unit_test(one_long_gap_says_nothing_and_many_do),
        cmocka_unit_test(off_is_off_and_on_is_on),
        cmocka_unit_test(a_step_of_one_row_guesses_what_is_granted),
        cmocka_unit_test(sweeps_are_judged_by_their_own_guesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
