#include "engine_seat.h"

#include "os/clock.h"

#include <string.h>

#define STATS_PERIOD_NS UINT64_C(100000000)

_Static_assert(sizeof(slot_snapshot) <= PUBLISH_WORDS_MAX * 8, "a snapshot fits a board");
_Static_assert(sizeof(leat_stats) <= PUBLISH_WORDS_MAX * 8, "the counters fit a board");

void engine_seat_set_cancel(engine_seat *seat, bool is_wanted)
{
    __atomic_store_n(&seat->cancel, is_wanted, __ATOMIC_RELAXED);
}

void engine_seat_publish(engine_seat *seat, bool with_stats)
{
    const uint64_t now_ns = clock_now_ns();

    seat->now.progress_ns = now_ns;
    seat->now.kv_tokens = seat->session ? (uint32_t)leat_session_length(seat->session) : 0;
    publish_board_write(&seat->slot_board, &seat->now, sizeof seat->now);
    if (!seat->engine || (!with_stats && now_ns - seat->stats_ns < STATS_PERIOD_NS)) return;
    const leat_stats stats = leat_engine_get_stats(seat->engine);
    publish_board_write(&seat->stats_board, &stats, sizeof stats);
    seat->stats_ns = now_ns;
}

/* In a call of the session, or while the engine is being opened. */
static void take_progress(void *user, const char *phase, uint64_t done, uint64_t total)
{
    engine_seat *seat = user;

    if (strcmp(phase, "load") == 0) {
        seat->now.load_done = done;
        seat->now.load_total = total;
    } else if (strcmp(phase, "prefill") == 0) {
        seat->now.prefill_done = seat->now.prompt_count - (uint32_t)(total - done);
        if (done == 0) seat->now.cached_count = seat->now.prefill_done;
    }
    engine_seat_publish(seat, false);
    if (seat->on_prefill && seat->now.slot == SLOT_PREFILL)
        seat->on_prefill(seat->on_prefill_user, seat->now.prefill_done, seat->now.prompt_count);
}

leat_status engine_seat_open(engine_seat *seat, const char *model_path, const leat_options *options, leat_error *error)
{
    leat_options own = *options;

    own.cancel = &seat->cancel;
    own.progress = take_progress;
    own.progress_user = seat;
    TRY(leat_model_open(model_path, &seat->model, error));
    TRY(leat_engine_open(seat->model, &own, &seat->engine, error));
    seat->info = leat_model_get_info(seat->model);
    seat->plan = leat_engine_plan(seat->engine);
    seat->tokenizer = leat_engine_tokenizer(seat->engine);
    TRY(leat_session_open(seat->engine, &seat->session, error));
    seat->now.ctx = seat->plan->ctx;
    engine_seat_publish(seat, true);
    return LEAT_OK;
}

void engine_seat_close(engine_seat *seat)
{
    leat_session_close(&seat->session);
    leat_engine_close(&seat->engine);
    leat_model_close(&seat->model);
}

leat_status engine_seat_prepare(engine_seat *seat, bool is_fresh, leat_error *error)
{
    if (is_fresh) leat_session_close(&seat->session);
    if (seat->session) return LEAT_OK;
    return leat_session_open(seat->engine, &seat->session, error);
}
