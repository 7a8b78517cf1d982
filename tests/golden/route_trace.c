/*
 * route_trace.c - prints which experts the routers chose, for comparison with known answers.
 *
 *     route_trace MODEL IDS_FILE [PREFILL_CHUNK]
 *
 * IDS_FILE holds token ids separated by white space. One line for each layer with experts and each position, as they
 * are computed: LAYER POSITION ID:WEIGHT..., layers counted among those with experts. Uses the public library alone.
 */
#include <leat/leat.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDS_MAX = 65536 };

static void print_route(void *user, uint32_t layer_idx, size_t position, const uint32_t *experts, const float *weights,
                        uint32_t count)
{
    (void)user;
    printf("%" PRIu32 " %zu", layer_idx, position);
    for (uint32_t i = 0; i < count; i++) printf(" %" PRIu32 ":%.9g", experts[i], (double)weights[i]);
    putchar('\n');
}

static leat_status ignore_logits(void *user, size_t position, const float *logits, leat_error *error)
{
    (void)user;
    (void)position;
    (void)logits;
    (void)error;
    return LEAT_OK;
}

static size_t read_ids(const char *path, uint32_t ids[IDS_MAX])
{
    size_t count = 0;
    FILE *in = fopen(path, "r");

    if (!in) return 0;
    while (count < IDS_MAX && fscanf(in, "%" SCNu32, &ids[count]) == 1) count++;
    fclose(in);
    return count;
}

static leat_status trace(const char *path, const uint32_t *ids, size_t count, uint32_t chunk, leat_error *error)
{
    leat_model *model = NULL;
    leat_engine *engine = NULL;
    leat_session *session = NULL;
    leat_options options = leat_options_default();
    leat_status status;

    options.prefill_chunk = chunk;
    status = leat_model_open(path, &model, error);
    if (status == LEAT_OK) status = leat_engine_open(model, &options, &engine, error);
    if (status == LEAT_OK) status = leat_session_open(engine, &session, error);
    if (status == LEAT_OK) {
        leat_session_set_route_sink(session, print_route, NULL);
        status = leat_session_score(session, ids, count, ignore_logits, NULL, error);
    }
    leat_session_close(&session);
    leat_engine_close(&engine);
    leat_model_close(&model);
    return status;
}

int main(int argc, char **argv)
{
    static uint32_t ids[IDS_MAX];
    leat_error error;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: route_trace MODEL IDS_FILE [PREFILL_CHUNK]\n");
        return 2;
    }
    size_t count = read_ids(argv[2], ids);
    if (count == 0) {
        fprintf(stderr, "route_trace: error: %s holds no token ids\n", argv[2]);
        return 2;
    }
    leat_status status = trace(argv[1], ids, count, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0, &error);
    if (status != LEAT_OK) fprintf(stderr, "route_trace: error: %s\n", error.text);
    if (fflush(stdout) != 0 || ferror(stdout)) return 5;
    return leat_status_exit_code(status);
}
