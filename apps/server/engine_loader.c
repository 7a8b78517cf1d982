#include "engine_loader.h"

static void take_progress(void *user, const char *name, uint64_t done, uint64_t total)
{
    engine_loader *loader = user;
    (void)name;
    server_state_set_progress(loader->state, done, total);
}

static void load(void *context)
{
    engine_loader *loader = context;
    engine_setup *setup = loader->setup;
    loader->status = leat_engine_open(setup->model, &loader->options, &setup->engine, &loader->error);
    if (loader->status == LEAT_OK) {
        setup->plan = leat_engine_plan(setup->engine);
        setup->tokenizer = leat_engine_tokenizer(setup->engine);
        plan_report(setup->plan);
        loader->status = leat_session_open(setup->engine, &setup->session, &loader->error);
    }
    if (loader->status == LEAT_OK) server_state_set(loader->state, SERVER_READY);
    atomic_store(&loader->has_ended, true);
}

leat_status engine_loader_open(engine_loader *loader, mem *ledger, const cli_options *options, engine_setup *setup,
                               server_state *state, leat_error *error)
{
    enum { STACK_BYTES = 1 << 20 };
    *loader = (engine_loader){.options = engine_options(options), .setup = setup, .state = state};
    loader->options.cancel = &loader->cancel;
    loader->options.progress = take_progress;
    loader->options.progress_user = loader;
    return own_thread_start(ledger, MEM_META, "leat-engine", STACK_BYTES, load, loader, &loader->thread, error);
}

void engine_loader_close(engine_loader *loader)
{
    loader->cancel = 1;
    own_thread_join(&loader->thread);
}
