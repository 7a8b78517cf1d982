/*
 * cmd_eval.c - how well a model expects a text: the log-probability of each token given those before it, in nats.
 *
 * The logits arrive position by position and are not kept; --logits writes them out as they come.
 */
#include "account.h"
#include "audit_writer.h"
#include "cli.h"
#include "engine_setup.h"
#include "input.h"
#include "model_list.h"
#include "npy.h"
#include "report.h"

#include "os/clock.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct candidate {
    uint32_t id;
    double log_probability;
} candidate;

typedef struct eval_work {
    cli *c;
    const char *model_path;
    strbuf text;
    u32_list ids;
    engine_setup setup;
    npy_writer npy;
    audit_writer audit;
    whole_file stats;
    double *log_probabilities; /* (ids.count): of token i given those before it; [0] is unused */
    candidate *top;            /* (--top), likeliest first */
    uint32_t top_count;
    double total; /* the sum over tokens 1.. */
    uint64_t elapsed_ns;
} eval_work;

/* log of the sum of exponentials; the greatest is taken out first, so that nothing overflows. */
static double log_sum_exp(const float *logits, uint32_t count)
{
    double greatest = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        if ((double)logits[i] > greatest) greatest = logits[i];
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - greatest);
    return greatest + log(sum);
}

static void find_top(eval_work *work, const float *logits, double log_sum)
{
    uint32_t wanted = work->c->options.top;
    for (uint32_t id = 0; id < work->setup.info->vocab_size; id++) {
        double value = (double)logits[id] - log_sum;
        if (work->top_count == wanted && value <= work->top[wanted - 1].log_probability) continue;
        uint32_t at = work->top_count < wanted ? work->top_count++ : wanted - 1;
        for (; at > 0 && work->top[at - 1].log_probability < value; at--) work->top[at] = work->top[at - 1];
        work->top[at] = (candidate){id, value};
    }
}

static leat_status take_position(eval_work *work, size_t position, const float *logits, leat_error *error)
{
    double log_sum = log_sum_exp(logits, work->setup.info->vocab_size);
    if (position + 1 < work->ids.count) {
        work->log_probabilities[position + 1] = (double)logits[work->ids.items[position + 1]] - log_sum;
        work->total += work->log_probabilities[position + 1];
    } else if (work->c->options.top > 0) {
        find_top(work, logits, log_sum);
    }
    return work->npy.stream ? npy_write_row(&work->npy, logits, error) : LEAT_OK;
}

static leat_status score_position(void *user, size_t position, const float *logits, leat_error *error)
{
    eval_work *work = user;
    const phase before = phase_clock_switch(&work->c->phases, PHASE_OTHER);
    leat_status status = take_position(work, position, logits, error);
    phase_clock_switch(&work->c->phases, before);
    return status;
}

static leat_status read_input(eval_work *work, leat_error *error)
{
    cli *c = work->c;
    TRY(model_argument(c, &work->model_path, error));
    const char *word = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    if (c->options.tokens) {
        if (word) return FAIL(error, USAGE, "--tokens stands in place of a text; give one of them");
        return input_read_tokens(c, &work->ids, error);
    }
    input_rules rules = {.word = word, .word_is_file = true, .refuses_empty = true, .expected = "a text"};
    return input_read(c, &rules, &work->text, error);
}

static leat_status take_ids(eval_work *work, const leat_tokenizer *tokenizer, leat_error *error)
{
    leat_tokens ids = {0};
    TRY(leat_tokenize_prompt(tokenizer, strbuf_text(&work->text), work->text.count, &ids, error));
    leat_status status = u32_list_append(&work->ids, ids.ids, ids.count, error);
    leat_tokens_free(&ids);
    TRY(status);
    return work->ids.count > 0 ? LEAT_OK : FAIL(error, USAGE, "the text is empty");
}

/* The ids are known before the weights are read, because the context is made to hold them. */
static leat_status prepare_ids(eval_work *work, leat_error *error)
{
    cli *c = work->c;
    if (c->options.tokens) {
        TRY(input_check_tokens(&work->ids, work->setup.info->vocab_size, error));
    } else {
        leat_tokenizer *tokenizer = NULL;
        if (!work->setup.info->has_tokenizer)
            return FAIL(error, MODEL, "%s: has no tokenizer, so that text cannot be read", work->setup.info->path);
        TRY(leat_tokenizer_open(work->model_path, &tokenizer, error));
        const phase before = phase_clock_switch(&c->phases, PHASE_TEXT);
        leat_status status = take_ids(work, tokenizer, error);
        phase_clock_switch(&c->phases, before);
        leat_tokenizer_close(&tokenizer);
        TRY(status);
    }
    uint32_t ctx = c->options.ctx > 0 ? c->options.ctx : work->setup.info->context_max;
    return work->ids.count <= ctx ? LEAT_OK : input_refuse_length(work->ids.count, ctx, work->setup.info, error);
}

static leat_status open_engine(eval_work *work, leat_error *error)
{
    leat_status status = engine_setup_open_engine(work->c, (uint32_t)work->ids.count, &work->setup, error);
    if (status == LEAT_BUDGET && work->c->options.ctx == 0)
        status_hint(error, "the context must hold the text's %zu tokens; give more with --ram, or score less text",
                    work->ids.count);
    return status;
}

static double mean_nll(const eval_work *work)
{
    return work->ids.count > 1 ? -work->total / (double)(work->ids.count - 1) : NAN;
}

/* The token's text, or "" where there is none. */
static const char *token_text(const eval_work *work, uint32_t id)
{
    const char *text = work->setup.tokenizer ? leat_token_text(work->setup.tokenizer, id) : NULL;
    return text ? text : "";
}

static void print_json(eval_work *work)
{
    json_writer w;
    json_writer_init(&w, &work->c->out);
    json_writer_begin_document(&w, "leat.eval/1");
    json_writer_text(&w, "model", work->setup.info->path);
    json_writer_u64(&w, "token_count", work->ids.count);
    json_writer_u64(&w, "scored_count", work->ids.count - 1);
    json_writer_number(&w, "log_probability", work->total);
    json_writer_number(&w, "mean_nll", mean_nll(work));
    json_writer_number(&w, "perplexity", exp(mean_nll(work)));
    json_writer_begin_array(&w, "tokens");
    for (size_t i = 0; i < work->ids.count; i++) {
        json_writer_begin_object(&w, NULL);
        json_writer_u64(&w, "id", work->ids.items[i]);
        json_writer_text(&w, "text", token_text(work, work->ids.items[i]));
        json_writer_number(&w, "log_probability", i > 0 ? work->log_probabilities[i] : NAN);
        json_writer_end_object(&w);
    }
    json_writer_end_array(&w);
    json_writer_begin_array(&w, "top");
    for (uint32_t i = 0; i < work->top_count; i++) {
        json_writer_begin_object(&w, NULL);
        json_writer_u64(&w, "id", work->top[i].id);
        json_writer_text(&w, "text", token_text(work, work->top[i].id));
        json_writer_number(&w, "log_probability", work->top[i].log_probability);
        json_writer_end_object(&w);
    }
    json_writer_end_array(&w);
    json_writer_seconds(&w, "elapsed_s", work->elapsed_ns);
    account_write_machine_json(&w, work->c, &work->setup);
    json_writer_end_document(&w);
}

static void print_row(output *out, uint32_t id, double log_probability, const char *text)
{
    output_print(out, "%8" PRIu32 "  %12.6f  ", id, log_probability);
    output_write(out, text, strlen(text));
    output_write(out, "\n", 1);
}

static void print_text(eval_work *work)
{
    output *out = &work->c->out;
    if (report_verbosity() > 0) {
        output_print(out, "      id       log p  token\n");
        for (size_t i = 1; i < work->ids.count; i++)
            print_row(out, work->ids.items[i], work->log_probabilities[i], token_text(work, work->ids.items[i]));
    }
    output_print(out, "tokens         %zu\n", work->ids.count);
    if (work->ids.count > 1) {
        output_print(out, "log p          %.6f\n", work->total);
        output_print(out, "mean NLL       %.6f nats\n", mean_nll(work));
        output_print(out, "perplexity     %.6f\n", exp(mean_nll(work)));
    }
    if (work->top_count > 0) output_print(out, "next token:\n      id       log p  token\n");
    for (uint32_t i = 0; i < work->top_count; i++)
        print_row(out, work->top[i].id, work->top[i].log_probability, token_text(work, work->top[i].id));
}

static leat_status score(eval_work *work, leat_error *error)
{
    cli *c = work->c;
    if (c->options.top > work->setup.info->vocab_size) c->options.top = work->setup.info->vocab_size;
    TRY(MEM_NEW(c->ledger, META, work->ids.count, &work->log_probabilities, error));
    TRY(MEM_NEW(c->ledger, META, c->options.top, &work->top, error));
    TRY(audit_writer_attach(&work->audit, &work->setup, NULL, &c->phases, error));
    uint64_t begin_ns = clock_now_ns();
    const phase before = phase_clock_switch(&c->phases, PHASE_STEP);
    leat_status status =
        leat_session_score(work->setup.session, work->ids.items, work->ids.count, score_position, work, error);
    phase_clock_switch(&c->phases, before);
    report_progress_end();
    TRY(status);
    work->elapsed_ns = clock_now_ns() - begin_ns;
    TRY(audit_writer_finish(&work->audit, "scored", error));
    return work->npy.stream ? npy_finish(&work->npy, error) : LEAT_OK;
}

static leat_status eval(eval_work *work, leat_error *error)
{
    TRY(read_input(work, error));
    TRY(account_open_stats(work->c, &work->stats, error));
    TRY(engine_setup_open_model(work->model_path, &work->setup, error));
    TRY(prepare_ids(work, error));
    if (work->c->options.audit) TRY(audit_writer_open(&work->audit, work->c->ledger, work->c->options.audit, error));
    if (work->c->options.logits)
        TRY(npy_open(&work->npy, work->c->options.logits, work->ids.count, work->setup.info->vocab_size, error));
    TRY(open_engine(work, error));
    TRY(score(work, error));
    if (work->c->options.json)
        print_json(work);
    else
        print_text(work);
    account_report_score(&work->setup, work->ids.count, work->elapsed_ns);
    return account_report_times(work->c, &work->setup, &work->stats, error);
}

leat_status cmd_eval(cli *c, leat_error *error)
{
    eval_work work = {.c = c, .text = {.ledger = c->ledger}, .ids = {.ledger = c->ledger}};
    leat_status status = eval(&work, error);
    npy_close(&work.npy);
    audit_writer_close(&work.audit);
    whole_file_close(&work.stats);
    engine_setup_close(&work.setup);
    mem_free(c->ledger, work.log_probabilities);
    mem_free(c->ledger, work.top);
    u32_list_reset(&work.ids);
    strbuf_reset(&work.text);
    return status;
}
