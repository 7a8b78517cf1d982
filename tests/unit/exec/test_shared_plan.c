/* test_shared_plan.c - automatic budgets beside processes that have leased memory: they leave it, ask for it, wait. */
#include "exec/shared_plan.h"
#include "model/model_build.h"
#include "support/tiny_model.h"
#include "support/unit.h"

#include <signal.h>
#include <sys/wait.h>

static const tiny_shape shape = {.family = TINY_QWEN3_MOE, .seed = 3};
static const uint64_t TIB = UINT64_C(1) << 40;

typedef struct world {
    char folder[UNIT_PATH_BYTES], runtime[UNIT_PATH_BYTES];
    checkpoint *source;
    mem *ledger;
    arena memory;
    model_desc model;
    engine_options options;
    lease own;
    plan solved;
} world;

static void open_world(world *w, uint64_t budget_bytes)
{
    leat_error error = {0};
    memset(w, 0, sizeof *w);
    make_folder(w->folder);
    make_folder(w->runtime);
    setenv("XDG_RUNTIME_DIR", w->runtime, 1);
    tiny_model_write(w->folder, &shape);
    w->ledger = open_ledger(0);
    arena_init(&w->memory, w->ledger, MEM_META, 65536);
    assert_ok(checkpoint_open(w->folder, &w->source, &error), &error);
    assert_ok(model_build(&w->source->index, w->source->config, w->source->generation, &w->memory, &w->model, &error),
              &error);
    w->options = (engine_options){.budget_bytes = budget_bytes,
                                  .spare_bytes = UINT64_C(1) << 30,
                                  .ctx = 64,
                                  .thread_count = 1,
                                  .level = kernel_isa_best(),
                                  .io = {.wanted = FILE_BUFFERED}};
}

static void close_world(world *w)
{
    lease_close(&w->own);
    checkpoint_close(&w->source);
    arena_reset(&w->memory);
    close_empty_ledger(w->ledger);
    remove_folder(w->folder);
    remove_folder(w->runtime);
}

static leat_status make_plan(world *w, leat_error *error)
{
    shared_plan_open_lease(w->source, false, &w->own);
    assert_true(w->own.fd >= 0);
    return shared_plan_make(w->source, &w->model, &w->options, &w->own, &w->solved, error);
}

/* A process that has leased `terms`. gives: it looks at the others, and when one wants something, keeps next to
 * nothing.
 */
static pid_t start_holder(const lease_terms *terms, bool gives)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        lease l;
        lease_view view = {0};
        leat_error error;
        if (lease_open(NULL, terms, &l, &error) != LEAT_OK || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) {
            usleep(20000);
            lease_survey(&l, 0, &view);
            if (gives && view.machine.claimed > 0) lease_change(&l, &(lease_terms){1, 0, false});
        }
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void end_holder(pid_t child)
{
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void alone_everything_is_had(void **state)
{
    (void)state;
    world w;
    leat_error error = {0};
    open_world(&w, 0);
    assert_ok(make_plan(&w, &error), &error);
    assert_int_equal(w.solved.budget_bytes, w.solved.everything_bytes);
    assert_int_equal(w.own.terms.budget_bytes, w.solved.budget_bytes);
    assert_false(w.own.terms.is_fixed);
    close_world(&w);
}

/* What is promised to others is not there, and nobody is asked for it. */
static void promises_are_kept(void **state)
{
    (void)state;
    world w;
    leat_error error = {0};
    open_world(&w, 0);
    const pid_t holder = start_holder(&(lease_terms){TIB, 0, true}, false);
    assert_fails(BUDGET, make_plan(&w, &error), &error);
    assert_int_equal(w.own.terms.budget_bytes, 0);
    assert_int_equal(w.options.spare_bytes, 0);
    end_holder(holder);
    lease_close(&w.own);
    assert_ok(make_plan(&w, &error), &error); /* the dead are void at once */
    assert_int_equal(w.solved.budget_bytes, w.solved.everything_bytes);
    close_world(&w);
}

/* Holds the planning of all others up, leases everything, and lets go. */
static pid_t start_planner(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        lease l;
        leat_error error;
        if (lease_open(NULL, &(lease_terms){0, 0, true}, &l, &error) != LEAT_OK) _exit(1);
        lease_lock(&l);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        usleep(300000);
        lease_change(&l, &(lease_terms){TIB, 0, true});
        lease_unlock(&l);
        for (;;) pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

/* Who starts while another plans sees what that one has leased, not the nothing from before. */
static void who_starts_together_plans_one_after_the_other(void **state)
{
    (void)state;
    world w;
    leat_error error = {0};
    open_world(&w, 0);
    const pid_t planner = start_planner();
    assert_fails(BUDGET, make_plan(&w, &error), &error);
    assert_int_equal(w.options.spare_bytes, 0);
    end_holder(planner);
    lease_close(&w.own);
    assert_ok(make_plan(&w, &error), &error); /* the lock went with its owner, and with the failed plan */
    lease_close(&w.own);
    assert_ok(make_plan(&w, &error), &error);
    close_world(&w);
}

static void who_can_give_is_asked(void **state)
{
    (void)state;
    world w;
    leat_error error = {0};
    open_world(&w, 0);
    const pid_t giver = start_holder(&(lease_terms){TIB, 0, false}, true);
    assert_ok(make_plan(&w, &error), &error);
    assert_int_equal(w.solved.budget_bytes, w.solved.everything_bytes);
    end_holder(giver);
    close_world(&w);

    open_world(&w, 0);
    const pid_t miser = start_holder(&(lease_terms){TIB, 0, false}, false);
    assert_fails(BUDGET, make_plan(&w, &error), &error);
    assert_true(w.own.terms.budget_bytes > 0); /* it was asked, in vain */
    end_holder(miser);
    close_world(&w);
}

/* --ram SIZE is a promise to the user. */
static void fixed_budgets_ask_nobody(void **state)
{
    (void)state;
    world w;
    leat_error error = {0};
    open_world(&w, UINT64_C(1) << 28);
    const pid_t holder = start_holder(&(lease_terms){TIB, 0, false}, false);
    assert_ok(make_plan(&w, &error), &error);
    assert_int_equal(w.solved.budget_bytes, UINT64_C(1) << 28);
    assert_true(w.own.terms.is_fixed);
    end_holder(holder);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_everything_is_had),
        cmocka_unit_test(promises_are_kept),
        cmocka_unit_test(who_starts_together_plans_one_after_the_other),
        cmocka_unit_test(who_can_give_is_asked),
        cmocka_unit_test(fixed_budgets_ask_nobody),
    };
    return cmocka_run_group_tests_name("shared_plan", tests, NULL, NULL);
}
