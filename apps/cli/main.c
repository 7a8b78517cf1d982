/*
 * main.c - from arguments to a command, and from its status to an exit code.
 */
#include "cli.h"
#include "option_value.h"
#include "report.h"
#include "signals.h"
#include "terminal.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

typedef leat_status command_fn(cli *c, leat_error *error);

static command_fn *const commands[VERB_COUNT] = {
    [VERB_RUN] = cmd_run,
    [VERB_CHAT] = cmd_chat,
    [VERB_SERVE] = cmd_serve,
    [VERB_INFO] = cmd_info,
    [VERB_PLAN] = cmd_plan,
    [VERB_PARETO] = cmd_pareto,
    [VERB_BENCH] = cmd_bench,
    [VERB_PROFILE] = cmd_profile,
    [VERB_EVAL] = cmd_eval,
    [VERB_AUDIT] = cmd_audit,
    [VERB_TOKENIZE] = cmd_tokenize,
    [VERB_DETOKENIZE] = cmd_detokenize,
    [VERB_PARSE] = cmd_parse,
    [VERB_TEMPLATE] = cmd_template,
    [VERB_CHECK] = cmd_check,
    [VERB_REPLAY] = cmd_replay,
    [VERB_PACK] = cmd_pack,
    [VERB_LIST] = cmd_list,
    [VERB_COMPLETIONS] = cmd_completions,
    [VERB_MAN] = cmd_man,
    [VERB_VERSION] = cmd_version,
    [VERB_HELP] = cmd_help,
};

enum { ARENA_CHUNK_BYTES = 16 * 1024, EXIT_OF_SIGNAL = 128 };

const char *cli_take_word(cli *c) { return c->next_word < c->word_count ? c->words[c->next_word++] : NULL; }

leat_status cli_refuse_rest(const cli *c, leat_error *error)
{
    if (c->next_word == c->word_count) return LEAT_OK;
    const verb_spec *verb = &verb_specs[c->verb];
    leat_status status = FAIL(error, USAGE, "leat %s: unexpected argument '%s'", verb->name, c->words[c->next_word]);
    bool takes_text = strstr(verb->words, "PROMPT") || strstr(verb->words, "TEXT");
    status_hint(error, "usage: leat %s [options]%s%s%s", verb->name, *verb->words ? " " : "", verb->words,
                takes_text ? " (text with spaces needs quotes)" : "");
    return status;
}

static leat_status find_verb(cli *c, const char *word, leat_error *error)
{
    static const struct {
        const char *word, *verb;
    } others[] = {{"--help", "help"}, {"-h", "help"}, {"--version", "version"}, {"-V", "version"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(word, others[i].word) == 0) word = others[i].verb;
    const verb_spec *verb = verb_find(word);
    if (verb) {
        c->verb = verb->id;
        return LEAT_OK;
    }
    const char *nearest = verb_nearest(word);
    leat_status status = FAIL(error, USAGE, "leat has no verb '%s'", word);
    if (nearest)
        status_hint(error, "did you mean leat %s?", nearest);
    else
        status_hint(error, "the verb comes first; see leat help");
    return status;
}

static leat_status run_command(cli *c, int argument_count, char **arguments, leat_error *error)
{
    report_init(0, 0, false); /* errors before the options are known */
    TRY(find_verb(c, arguments[1], error));
    TRY(options_read(c->verb, (uint32_t)argument_count - 2, arguments + 2, &c->memory, &c->options, &c->words,
                     &c->word_count, error));
    report_init(c->options.color, c->options.verbose, c->options.quiet);
    for (uint32_t i = 0; i < c->options.warnings.count; i++) report_warning("%s", c->options.warnings.items[i]);
    if (c->options.log_file && !c->options.help) TRY(report_open_log(c->options.log_file, error));
    if (c->options.help) {
        help_print_verb(&c->out, c->verb);
        return LEAT_OK;
    }
    return commands[c->verb](c, error);
}

/* What went wrong first is what is reported: a failed write of the answer is worth more than nothing, less than the
 * command's own error. */
static leat_status finish_output(cli *c, leat_status status, leat_error *error)
{
    leat_error write_error = {0};
    leat_status written = output_flush(&c->out, &write_error);
    if (status != LEAT_OK || written == LEAT_OK) return status;
    *error = write_error;
    return written;
}

static int exit_code_of(const cli *c, leat_status status)
{
    if (signals_want_end() && status == LEAT_CANCELLED) return EXIT_OF_SIGNAL + signals_arrived();
    /* The reader had enough: nobody's failure, and what a shell sees of other programs then. */
    if (c->out.is_closed && (status == LEAT_OK || status == LEAT_CANCELLED)) return EXIT_OF_SIGNAL + SIGPIPE;
    return status == LEAT_OK ? c->exit_code : leat_status_exit_code(status);
}

static int run_without_verb(cli *c)
{
    c->out.fd = STDERR_FILENO;
    help_print_short(&c->out);
    leat_status written = output_flush(&c->out, NULL);
    return leat_status_exit_code(written == LEAT_OK ? LEAT_USAGE : written);
}

/* A program may be started without its first three descriptors. The next files it opens would get their numbers, and
 * messages would land in them. They are taken in the wrong direction: what uses them gets the error that it should. */
static void take_standard_files(void)
{
    static const int modes[] = {[STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0) return; /* without /dev/null there is no help */
}

int main(int argument_count, char **arguments)
{
    take_standard_files();
    setlocale(LC_CTYPE, "C.UTF-8"); /* for wcwidth; numbers stay in the C locale */
    signals_install();
    leat_error error = {0};
    cli c = {0};
    phase_clock_start(&c.phases);
    leat_status status = mem_open(0, &c.ledger, &error);
    if (status != LEAT_OK) {
        report_error(&error);
        return leat_status_exit_code(status);
    }
    arena_init(&c.memory, c.ledger, MEM_META, ARENA_CHUNK_BYTES);
    output_init(&c.out, c.ledger, STDOUT_FILENO);
    int code;
    if (argument_count < 2) {
        code = run_without_verb(&c);
    } else {
        status = finish_output(&c, run_command(&c, argument_count, arguments, &error), &error);
        report_progress_end();
        code = exit_code_of(&c, status);
        if (status != LEAT_OK && status != LEAT_CANCELLED) report_error(&error);
    }
    report_close_log();
    output_reset(&c.out);
    arena_reset(&c.memory);
    mem_close(&c.ledger);
    return code;
}
