/*
 * test_forecast.c - the formula of the forecast: what hides behind what, what counts where nothing is known, and which
 * figures of a profile are believed.
 */
#include "exec/forecast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const profile_place here = {"drive-a", "avx2", 4};

static forecast foretell(const forecast_basis *b, const plan *p)
{
    forecast f;
    leat_error error;
    assert_int_equal(forecast_make(b, p, CACHE_LFU, 0, 0, &f, &error), LEAT_OK);
    return f;
}

static bool near_to(double a, double b) { return fabs(a - b) < 1e-9 * fmax(fabs(a), fabs(b)) + 1e-12; }

static void streamed_layers_hide_behind_the_slower_one(void **state)
{
    (void)state;
    const model_desc dense = {.layer_count = 0};
    const model_profile none = {0};
    forecast_basis b = {.model = &dense, .profile = &none, .rate = 1e9, .compute_s = 0.5};
    plan p = {.ctx = 4096, .prefill_chunk = 128, .streamed_bytes = 2000000000};

    assert_true(near_to(foretell(&b, &p).token_s, 2));
    assert_true(near_to(foretell(&b, &p).prompt_bytes, 4 * 2e9));
    p.streamed_bytes = 100000000;
    assert_true(near_to(foretell(&b, &p).token_s, 0.5));
    assert_true(foretell(&b, &p).hit_rate == 1);
    b.rate = 0;
    assert_true(foretell(&b, &p).token_s == 0); /* not known */
    p.streamed_bytes = 0;
    assert_true(near_to(foretell(&b, &p).token_s, 0.5));
}

static void experts_are_waited_for(void **state)
{
    (void)state;
    const model_desc moe = {.moe_layer_count = 10, .expert_count = 100, .expert_used_count = 4};
    const model_profile none = {0};
    const forecast_basis b = {.model = &moe,
                              .profile = &none,
                              .record_bytes = 1000000,
                              .rate = 1e9,
                              .wait_per_byte = 2e-9,
                              .compute_s = 0.01,
                              .hit = SOURCE_DEFAULT};
    plan p = {.ctx = 4096, .prefill_chunk = 512, .expert_slot_count = 500, .expert_slot_max = 1000};
    const forecast half = foretell(&b, &p);
    const double missed = 40e6 * (1 - forecast_default_hit_rate(0.5));

    assert_true(near_to(half.token_bytes, missed) && near_to(half.io_s, missed / 1e9));
    assert_true(near_to(half.token_s, 0.01 + missed * 2e-9));
    p.expert_slot_count = 1000;
    assert_true(near_to(foretell(&b, &p).token_s, 0.01));
    /* A chunk of 512 touches nearly all, one of 16 does not. */
    assert_true(foretell(&b, &p).prompt_bytes > 0.999e9);
    p.prefill_chunk = 16;
    assert_true(foretell(&b, &p).prompt_bytes < 0.5e9);
}

static void the_default_curve_rises(void **state)
{
    (void)state;
    double before = -1;
    for (int i = 0; i <= 1000; i++) {
        const double rate = forecast_default_hit_rate(i / 1000.0);
        assert_true(rate > before && rate <= 1);
        before = rate;
    }
    assert_true(forecast_default_hit_rate(1) == 1 && forecast_default_hit_rate(0) == 0);
}

static void believes_profiles_of_this_place(void **state)
{
    (void)state;
    const model_desc dense = {.layer_count = 0};
    const drive_rates drive = {.record = 2e9, .part = 1e9};
    const profile_place other_threads = {"drive-a", "avx2", 2}, other_drive = {"drive-b", "avx2", 4};
    const model_profile p = {.place = here,
                             .decode = {.token_count = 100, .compute_s = 20, .stream_wait_s = 20, .read_bytes = 40e9}};
    forecast_basis b = forecast_basis_make(&dense, &p, &here, &drive, 9);

    assert_true(near_to(b.compute_s, 0.2) && b.compute == SOURCE_PROFILE);
    assert_true(near_to(b.rate, 1e9) &&
                b.io == SOURCE_PROFILE); /* bytes over all of the time: the disk was the limit */
    b = forecast_basis_make(&dense, &p, &other_drive, &drive, 9);
    assert_true(near_to(b.compute_s, 0.2) && near_to(b.rate, 2e9) && b.io == SOURCE_CALIBRATION);
    b = forecast_basis_make(&dense, &p, &other_threads, &drive, 9);
    assert_true(b.compute_s == 9 && b.compute == SOURCE_CALIBRATION && near_to(b.rate, 2e9));
    b = forecast_basis_make(&dense, &p, &other_threads, &(drive_rates){0}, 0);
    assert_true(b.compute == SOURCE_NONE && b.io == SOURCE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streamed_layers_hide_behind_the_slower_one),
        cmocka_unit_test(experts_are_waited_for),
        cmocka_unit_test(the_default_curve_rises),
        cmocka_unit_test(believes_profiles_of_this_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
