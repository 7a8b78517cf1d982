/*
 * The plan from sizes alone: what automatic budgets, contexts and chunks come to, where the floor lies, and that every
 * term is what the ledger counts when its owner is opened.
 */
#include "block_world.h"
#include "support/unit.h"

#include "exec/plan.h"

enum { EXPERTS = 24, USED = 3, WIDTH = 96, HIDDEN = 80 };

/* A model of one layer with a ring, experts and a table that is read by rows; nothing of it is ever read here. */
typedef struct planned {
    block_world w;
    file_set files;
    expert_records records;
    plan_request request;
    weight_part parts[WORLD_WEIGHTS_MAX][1][PART_COUNT];
    weight_place places[WORLD_WEIGHTS_MAX];
} planned;

static void open_planned(planned *p, uint32_t window)
{
    block_world *w = &p->w;
    leat_error error = {0};

    *p = (planned){0};
    world_init(w, HIDDEN, 90);
    world_add_experts(w, EXPERTS, USED, WIDTH);
    w->layers[0].residual_count = 2;
    w->layers[0].residuals[1].branch_count = 1;
    block *b = &w->layers[0].residuals[1].branches[0].block;
    *b = (block){.kind = BLOCK_ATTENTION};
    b->attention =
        (attention_block){.head_count = 4, .kv_head_count = 4, .head_dim = 100, .window = window, .owns_kv = true};
    w->model.rope_count = 1;
    w->model.ropes[0] =
        (rope_desc){.kind = ROPE_DEFAULT, .head_dim = 100, .rotated_dims = 100, .theta = 100, .factor = 1};
    w->model.embedding = world_weight(w, 50, HIDDEN);
    w->model.vocab_size = 50;
    w->model.context_max = 10000;
    w->model.vectors = NULL;
    w->model.places = p->places;
    p->places[w->model.embedding] = WEIGHT_ROWS;
    w->file = (file){.fd = -1, .offset_align = 512, .memory_align = 512, .bytes = 1 << 30};
    p->files = (file_set){&w->file, &w->file_name, 1};
    for (uint32_t i = 0; i < w->model.weight_count; i++) {
        p->parts[i][0][PART_DATA] =
            (weight_part){0, 100 + 70000 * i, w->weights[i].shape.rows * w->weights[i].shape.cols * 4};
        w->weights[i].parts = p->parts[i];
    }
    assert_ok(expert_records_open(w->ledger, &w->model, &p->records, &error), &error);
    p->request = (plan_request){.model = &w->model,
                                .files = &p->files,
                                .experts = &p->records,
                                .checkpoint_bytes = 123456,
                                .budget_bytes = UINT64_C(1) << 30,
                                .thread_count = 3};
}

static void close_planned(planned *p)
{
    expert_records_close(&p->records);
    world_close(&p->w);
}

static plan solve(const planned *p)
{
    leat_error error = {0};
    plan solved = {0};

    assert_ok(plan_make(&p->request, &solved, &error), &error);
    assert_int_equal(solved.process_bytes + solved.tokenizer_bytes + solved.trunk_bytes + solved.kv_bytes +
                         solved.scratch_bytes + solved.io_bytes + solved.expert_cache_bytes + solved.unspent_bytes,
                     solved.budget_bytes);
    assert_true(solved.outside_bytes <= solved.process_bytes);
    return solved;
}

/* ---- terms ---- */

static void test_terms_are_what_the_ledger_counts(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < 8; way++) {
        planned p;
        leat_error error = {0};
        open_planned(&p, way % 2 ? 70 : 0);
        p.request.ctx = 200 + 77 * way;
        p.request.prefill_chunk = 1 + 9 * way;
        p.request.thread_count = 1 + way;
        const plan solved = solve(&p);
        const uint32_t chunk = solved.prefill_chunk;
        const storage_sim_config sim = {.seed = 1};
        mem *ledger = open_ledger(0);
        kv_layer_shape shapes[LAYERS_MAX];
        kv_cache *kv = NULL;
        scratch s = {0};
        thread_pool *threads = NULL;
        expert_cache *cache = NULL;
        engine fake = {.ledger = ledger, .model = &p.w.model, .plan = solved};
        session *timeline = NULL;

        plan_kv_shapes(&p.w.model, shapes);
        assert_ok(kv_cache_open(ledger, shapes, 1, solved.ctx, chunk, &kv, &error), &error);
        fake.kv = kv;
        assert_ok(session_open(&fake, &timeline, &error), &error);
        assert_int_equal(mem_pool_usage(ledger, MEM_KV).peak_bytes, solved.kv_bytes);
        assert_ok(scratch_open(ledger, &p.w.model, chunk, p.request.thread_count, &s, &error), &error);
        assert_int_equal(mem_pool_usage(ledger, MEM_SCRATCH).peak_bytes, solved.scratch_bytes);
        assert_ok(thread_pool_open(ledger, p.request.thread_count, &threads, &error), &error);
        assert_int_equal(mem_pool_usage(ledger, MEM_META).peak_bytes, thread_pool_bytes(p.request.thread_count));
        storage *reads = storage_sim_open(&p.files, NULL, &sim);
        const expert_cache_config config = plan_cache_config(&p.request, solved.expert_slot_count);
        assert_int_equal(config.set_max, solved.expert_set_max);
        assert_ok(expert_cache_open(ledger, &config, &p.files, reads, &cache, &error), &error);
        assert_int_equal(mem_pool_usage(ledger, MEM_EXPERTS).peak_bytes, solved.expert_cache_bytes);
        expert_cache_close(&cache);
        reads->ops->close(&reads);
        thread_pool_close(&threads);
        scratch_close(&s);
        session_close(&timeline);
        kv_cache_close(&kv);
        close_empty_ledger(ledger);
        close_planned(&p);
    }
}

/* ---- the floor ---- */

static void test_floor(void **state)
{
    planned p;
    leat_error error = {0};
    plan below = {0};

    (void)state;
    open_planned(&p, 0);
    p.request.ctx = 3000;
    p.request.prefill_chunk = 64;
    p.request.budget_bytes = 1;
    assert_fails(BUDGET, plan_make(&p.request, &below, &error), &error);
    assert_text_has(error.text, "(ctx 3000)");
    assert_text_has(error.text, "(chunk 64)");
    assert_text_has(error.hint, "give at least --ram ");

    /* What the hint promises is true. */
    uint64_t least = strtoull(error.hint + strcspn(error.hint, "0123456789"), NULL, 10);
    p.request.budget_bytes = least;
    p.request.ctx = 1;
    solve(&p);
    p.request.budget_bytes = least - 1;
    assert_int_equal(plan_make(&p.request, &(plan){0}, NULL), LEAT_BUDGET);

    p.request.ctx = 3000;
    p.request.budget_bytes = below.floor_bytes;
    const plan floor = solve(&p);
    assert_true(floor.expert_slot_count >= USED);
    assert_int_equal(floor.floor_bytes, below.floor_bytes);
    p.request.budget_bytes = below.floor_bytes - 1;
    assert_fails(BUDGET, plan_make(&p.request, &below, &error), &error);
    unsigned fits = 0;
    assert_int_equal(sscanf(error.hint, "the largest context that fits this budget is --ctx %u", &fits), 1);
    assert_in_range(fits, 2800, 2999);
    p.request.ctx = fits;
    solve(&p);
    p.request.ctx = fits + 1;
    assert_int_equal(plan_make(&p.request, &(plan){0}, NULL), LEAT_BUDGET);

    /* A budget that is just the floor of a shorter context names that one. */
    p.request.ctx = 2000;
    p.request.budget_bytes = 1;
    assert_int_equal(plan_make(&p.request, &below, NULL), LEAT_BUDGET);
    p.request.ctx = 3000;
    p.request.budget_bytes = below.floor_bytes;
    assert_fails(BUDGET, plan_make(&p.request, &below, &error), &error);
    assert_int_equal(sscanf(error.hint, "the largest context that fits this budget is --ctx %u", &fits), 1);
    assert_in_range(fits, 2000, 2063); /* full layers grow by whole blocks */
    p.request.ctx = fits;
    solve(&p);
    close_planned(&p);
}

/* ---- what is chosen where nothing is said ---- */

static void test_automatic_choices(void **state)
{
    planned p;

    (void)state;
    open_planned(&p, 0);
    plan solved = solve(&p);
    assert_int_equal(solved.ctx, CTX_AUTO);
    assert_int_equal(solved.prefill_chunk, CHUNK_AUTO_MAX);
    assert_int_equal(solved.expert_slot_count, EXPERTS);
    assert_int_equal(solved.expert_slot_max, EXPERTS);
    assert_int_equal(solved.expert_set_max, USED);
    p.w.model.context_max = 100;
    solved = solve(&p);
    assert_int_equal(solved.ctx, 100);
    assert_int_equal(solved.prefill_chunk, 100);
    p.w.model.context_max = 10000;

    /* An automatic budget is everything, or what can be spared. */
    p.request.budget_bytes = 0;
    p.request.spare_bytes = UINT64_C(1) << 40;
    solved = solve(&p);
    const uint64_t everything = solved.everything_bytes;
    assert_int_equal(solved.budget_bytes, everything);
    assert_int_equal(solved.expert_slot_count, EXPERTS);
    assert_int_equal(solved.prefill_chunk, CHUNK_AUTO_MAX);
    p.request.spare_bytes = everything - 500000;
    solved = solve(&p);
    assert_int_equal(solved.budget_bytes, everything - 500000);

    /* A larger budget never gives fewer slots at the same chunk, nor a smaller chunk. */
    uint32_t chunk = 0;
    uint64_t begin = 0;
    plan below;
    p.request.budget_bytes = 1;
    assert_int_equal(plan_make(&p.request, &below, NULL), LEAT_BUDGET);
    begin = below.floor_bytes;
    for (uint64_t budget = begin; budget < everything + 100000; budget += 50021) {
        p.request.budget_bytes = budget;
        solved = solve(&p);
        assert_int_equal(solved.floor_bytes, begin);
        assert_in_range(solved.prefill_chunk, chunk ? chunk : CHUNK_AUTO_MIN, CHUNK_AUTO_MAX);
        assert_in_range(solved.expert_slot_count, USED, EXPERTS);
        assert_in_range(solved.expert_set_max, USED, solved.expert_slot_count);
        chunk = solved.prefill_chunk;
    }
    p.request.budget_bytes = everything;
    assert_int_equal(solve(&p).expert_slot_count, EXPERTS);
    close_planned(&p);
}

/* Parsing a tokenizer needs more than keeping it; a budget that only keeps it is below the floor. */
static void test_tokenizer(void **state)
{
    planned p;
    plan below;

    (void)state;
    open_planned(&p, 0);
    p.request.budget_bytes = 1;
    assert_int_equal(plan_make(&p.request, &below, NULL), LEAT_BUDGET);
    const uint64_t without = below.floor_bytes;
    p.request.tokenizer_file_bytes = 30 << 20;
    assert_int_equal(plan_make(&p.request, &below, NULL), LEAT_BUDGET);
    assert_true(below.floor_bytes > without + below.tokenizer_bytes - (UINT64_C(8) << 20));
    assert_in_range(below.tokenizer_bytes, 15 << 20, 40 << 20);
    /* Once it is open its true size counts, and always what encoding takes. */
    p.request.tokenizer_bytes = 90 << 20;
    assert_int_equal(plan_make(&p.request, &below, NULL), LEAT_BUDGET);
    assert_in_range(below.tokenizer_bytes, (90 << 20) + 96 * below.ctx, (91 << 20) + 96 * below.ctx);
    close_planned(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terms_are_what_the_ledger_counts),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_automatic_choices),
        cmocka_unit_test(test_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
