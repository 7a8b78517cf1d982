#include "route_trace_writer.h"

#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { FORMAT_VERSION = 1, NUMBER_CHARS = 12 };

static void give_up(route_trace_writer *w, const char *what)
{
    int os_errno = errno;
    if (w->stream) fclose(w->stream);
    w->stream = NULL;
    report_warning("%s: %s: %s; the routing is not recorded%s", w->path, what, strerror(os_errno),
                   w->has_line ? " any further" : "");
}

void route_trace_begin(route_trace_writer *w, const char *path, const leat_model_info *info, const leat_plan *plan)
{
    *w = (route_trace_writer){.path = path};
    if (info->moe_layer_count == 0) {
        report_warning("%s has no experts: there is no routing to record", info->path);
        return;
    }
    w->stream = fopen(path, "we");
    if (!w->stream) {
        give_up(w, "cannot be created");
        return;
    }
    fprintf(w->stream,
            "{\"leat_route_trace\":%d,\"layer_count\":%" PRIu32 ",\"expert_count\":%" PRIu32 ",\"used_count\":%" PRIu32
            ",\"slot_count\":%" PRIu32 ",\"set_max\":%" PRIu32 ",\"policy\":\"%s\",\"prefill_chunk\":%" PRIu32 "}\n",
            FORMAT_VERSION, info->moe_layer_count, info->expert_count, info->expert_used_count, plan->expert_slot_count,
            plan->expert_set_max, leat_cache_policy_label(plan->cache_policy), plan->prefill_chunk);
    if (fflush(w->stream) != 0) give_up(w, "write failed");
}

bool route_trace_is_open(const route_trace_writer *w) { return w->stream != NULL; }

/* The sets of a layer are one list: whoever replays cuts it where the engine did. */
static void end_line(route_trace_writer *w)
{
    if (w->has_line && fputs("]]}\n", w->stream) < 0) give_up(w, "write failed");
    if (w->stream) w->has_line = false;
}

static void begin_line(route_trace_writer *w, size_t position, uint32_t row_count)
{
    w->has_line = true;
    w->layer = 0;
    fprintf(w->stream, "{\"tok\":%zu", position);
    if (row_count > 1) fprintf(w->stream, ",\"rows\":%" PRIu32, row_count);
    fputs(",\"layers\":[[", w->stream);
}

/* printf of every id would be half of the cost. */
static void write_ids(FILE *stream, const uint32_t *ids, uint32_t count, bool is_first)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[NUMBER_CHARS], *at = text + sizeof text;
        uint32_t id = ids[i];
        do {
            *--at = (char)('0' + id % 10);
            id /= 10;
        } while (id > 0);
        if (i > 0 || !is_first) *--at = ',';
        fwrite_unlocked(at, 1, (size_t)(text + sizeof text - at), stream);
    }
}

void route_trace_take(void *user, uint32_t layer_idx, uint32_t set_idx, size_t position, uint32_t row_count,
                      const uint32_t *experts, uint32_t count)
{
    route_trace_writer *w = user;
    if (!w->stream) return;
    if (layer_idx == 0 && set_idx == 0) end_line(w);
    if (w->stream && !w->has_line) begin_line(w, position, row_count);
    if (!w->stream) return;
    for (; w->layer < layer_idx; w->layer++) fputs("],[", w->stream);
    write_ids(w->stream, experts, count, set_idx == 0);
    if (ferror(w->stream)) give_up(w, "write failed");
}

void route_trace_end(route_trace_writer *w)
{
    if (!w->stream) return;
    end_line(w);
    if (!w->stream) return;
    int failed = fflush(w->stream);
    if (failed) {
        give_up(w, "write failed");
        return;
    }
    fclose(w->stream);
    w->stream = NULL;
}
