#include "route_trace_writer.h"

#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT_VERSION = 2, NUMBER_CHARS = 12 };

static void give_up(route_trace_writer *w, const char *what)
{
    int os_errno = errno;
    if (w->stream) fclose(w->stream);
    w->stream = NULL;
    report_warning("%s: %s: %s; the routing is not recorded%s", w->path, what, strerror(os_errno),
                   w->has_line ? " any further" : "");
}

/* printf of every id would be half of the cost. */
static void write_ids(FILE *stream, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[NUMBER_CHARS], *at = text + sizeof text;
        uint32_t id = ids[i];
        do {
            *--at = (char)('0' + id % 10);
            id /= 10;
        } while (id > 0);
        if (i > 0) *--at = ',';
        fwrite_unlocked(at, 1, (size_t)(text + sizeof text - at), stream);
    }
}

/* ---- lists beside "layers" ---- */

static void begin_list(route_trace_list *list) { list->stream = open_memstream(&list->text, &list->bytes); }

static void close_list(route_trace_list *list)
{
    if (list->stream) fclose(list->stream);
    free(list->text);
    *list = (route_trace_list){0};
}

/* Layers without numbers have empty lists. */
static void add_layer(route_trace_list *list, bool is_first, const uint32_t *numbers, uint32_t count)
{
    if (!list->stream) return;
    fputs(is_first ? "[" : ",[", list->stream);
    write_ids(list->stream, numbers, count);
    fputc(']', list->stream);
    list->has_numbers |= count > 0;
}

static void end_list(route_trace_list *list, const char *name, FILE *out)
{
    if (!list->stream) return;
    fflush(list->stream);
    if (list->has_numbers) fprintf(out, ",\"%s\":[%.*s]", name, (int)list->bytes, list->text);
    rewind(list->stream);
    list->has_numbers = false;
}

/* Whose slots each layer uses, where there are several kinds. */
static void write_classes(FILE *stream, const leat_model_info *info, const leat_engine *engine)
{
    if (leat_engine_plan(engine)->expert_class_count < 2) return;
    fputs(",\"classes\":[", stream);
    for (uint32_t i = 0; i < info->moe_layer_count; i++)
        fprintf(stream, "%s%" PRIu32, i > 0 ? "," : "", leat_engine_expert_class(engine, i));
    fputc(']', stream);
}

void route_trace_begin(route_trace_writer *w, const char *path, const leat_model_info *info, const leat_engine *engine)
{
    const leat_plan *plan = leat_engine_plan(engine);
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
            ",\"slot_count\":%" PRIu32 ",\"set_max\":%" PRIu32 ",\"policy\":\"%s\",\"prefill_chunk\":%" PRIu32,
            FORMAT_VERSION, info->moe_layer_count, info->expert_count, info->expert_used_count, plan->expert_slot_count,
            plan->expert_set_max, leat_cache_policy_label(plan->cache_policy), plan->prefill_chunk);
    write_classes(w->stream, info, engine);
    fputs("}\n", w->stream);
    if (fflush(w->stream) != 0) give_up(w, "write failed");
    begin_list(&w->expert_rows);
    begin_list(&w->ahead);
}

bool route_trace_is_open(const route_trace_writer *w) { return w->stream != NULL; }

/* ---- lines ---- */

static void end_line(route_trace_writer *w)
{
    if (w->has_line) {
        fputc(']', w->stream);
        end_list(&w->expert_rows, "expert_rows", w->stream);
        end_list(&w->ahead, "ahead", w->stream);
        fputs("}\n", w->stream);
    }
    w->has_line = false;
    if (w->slots > 0) fprintf(w->stream, "{\"slots\":%" PRIu32 "}\n", w->slots);
    w->slots = 0;
    if (ferror(w->stream)) give_up(w, "write failed");
}

static void begin_line(route_trace_writer *w, size_t position, uint32_t row_count)
{
    w->has_line = true;
    w->layer = 0;
    fprintf(w->stream, "{\"tok\":%zu", position);
    if (row_count > 1) fprintf(w->stream, ",\"rows\":%" PRIu32, row_count);
    fputs(",\"layers\":[", w->stream);
}

static void write_layer(route_trace_writer *w, const leat_acquire *a, bool is_skipped)
{
    const uint32_t count = is_skipped ? 0 : a->count;
    fputs(w->layer > 0 ? ",[" : "[", w->stream);
    write_ids(w->stream, a->experts, count);
    fputc(']', w->stream);
    add_layer(&w->expert_rows, w->layer == 0, a->expert_rows, a->expert_rows ? count : 0);
    add_layer(&w->ahead, w->layer == 0, a->ahead, is_skipped ? 0 : a->ahead_count);
    w->layer++;
}

void route_trace_take(void *user, const leat_acquire *acquire)
{
    route_trace_writer *w = user;
    if (!w->stream) return;
    if (acquire->layer_idx == 0) end_line(w);
    if (w->stream && !w->has_line) begin_line(w, acquire->position, acquire->row_count);
    if (!w->stream) return;
    while (w->layer < acquire->layer_idx) write_layer(w, acquire, true);
    write_layer(w, acquire, false);
    if (ferror(w->stream)) give_up(w, "write failed");
}

void route_trace_take_resize(void *user, uint32_t slot_count)
{
    route_trace_writer *w = user;
    w->slots = slot_count;
}

void route_trace_end(route_trace_writer *w)
{
    if (w->stream) end_line(w);
    if (w->stream && fflush(w->stream) != 0) give_up(w, "write failed");
    if (w->stream) fclose(w->stream);
    w->stream = NULL;
    close_list(&w->expert_rows);
    close_list(&w->ahead);
}
