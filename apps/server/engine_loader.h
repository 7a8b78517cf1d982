/*
 * engine_loader.h - a thread that opens the engine while the server listens already.
 *
 * Threads: open, has_ended and close from one.
 */
#ifndef SERVER_ENGINE_LOADER_H
#define SERVER_ENGINE_LOADER_H

#include "cli/engine_setup.h"
#include "os/own_thread.h"
#include "server_state.h"

typedef struct engine_loader {
    leat_options options;
    engine_setup *setup; /* with an open model; gets the engine */
    server_state *state;
    volatile int cancel;
    own_thread thread;
    atomic_bool has_ended;
    leat_status status; /* valid when has_ended */
    leat_error error;
} engine_loader;

/* `loader` stays where it is until close. */
MUST_CHECK leat_status engine_loader_open(engine_loader *loader, mem *ledger, const cli_options *options,
                                          engine_setup *setup, server_state *state, leat_error *error);
/* Stops loading, or does nothing when it has ended. */
void engine_loader_close(engine_loader *loader);

#endif
