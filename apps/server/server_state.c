#include "server_state.h"

#include <leat/leat.h>

#include <stdio.h>
#include <string.h>

static const char *const words[] = {"loading", "ok", "degraded", "stopping"};
static const char *const codes[] = {"loading", NULL, "io_error", "shutting_down"};
static const char *const messages[] = {"Loading model", NULL, "The model can no longer be read",
                                       "The server is shutting down"};
static const char json_type[] = "application/json";

void server_state_set(server_state *s, server_phase phase)
{
    int before = atomic_load(&s->phase);
    /* Stopping is final: a load that ends late changes nothing. */
    while (before != SERVER_STOPPING && !atomic_compare_exchange_weak(&s->phase, &before, (int)phase)) {
    }
}

void server_state_set_progress(server_state *s, uint64_t done, uint64_t total)
{
    double part = total > 0 ? (double)done / (double)total : 0;
    atomic_store(&s->progress_thousandths, (unsigned)(1000 * (part > 1 ? 1 : part)));
}

void server_state_reply_health(const server_state *s, http_exchange *x)
{
    char body[256];
    int phase = atomic_load(&s->phase);
    if (phase == SERVER_READY) {
        http_reply(x, 200, json_type, "{\"status\":\"ok\"}", strlen("{\"status\":\"ok\"}"));
        return;
    }
    /* The error as llama.cpp words it, whose clients wait for it; the rest is ours. */
    int bytes = snprintf(body, sizeof body,
                         "{\"error\":{\"code\":503,\"message\":\"%s\",\"type\":\"unavailable_error\"},"
                         "\"status\":\"%s\",\"progress\":%.3f}",
                         messages[phase], words[phase],
                         phase == SERVER_LOADING ? atomic_load(&s->progress_thousandths) / 1000.0 : 1.0);
    http_set_header(x, "Retry-After", "5");
    http_reply(x, 503, json_type, body, (size_t)bytes);
}

bool server_state_refuses(const server_state *s, http_exchange *x)
{
    int phase = atomic_load(&s->phase);
    if (phase == SERVER_READY) return false;
    http_set_header(x, "Retry-After", "5");
    http_fail(x, 503, "unavailable_error", codes[phase], NULL, messages[phase]);
    return true;
}

void server_state_reply_live(http_exchange *x)
{
    static const char body[] = "{\"status\":\"alive\"}";
    http_reply(x, 200, json_type, body, sizeof body - 1);
}

void server_state_reply_version(http_exchange *x)
{
    char body[128];
    int bytes = snprintf(body, sizeof body, "{\"version\":\"%s\",\"engine\":\"leat\"}", leat_version());
    http_reply(x, 200, json_type, body, (size_t)bytes);
}
