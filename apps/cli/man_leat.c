/* man_leat.c - leat(1): the program. What is of leat serve alone, and the configuration files, have pages of their own.
 */
#include "chat.h"
#include "exit_codes.h"
#include "man.h"

static void print_verb(output *out, const verb_spec *verb)
{
    output_print(out, ".TP\n.B leat %s", verb->name);
    if (*verb->words) {
        output_print(out, " ");
        man_text(out, verb->words);
    }
    output_print(out, "\n");
    man_text(out, verb->summary);
    output_print(out, "\n");
}

static void print_description(output *out)
{
    man_section(out, "DESCRIPTION");
    man_lead(
        out,
        "leat runs a language model inside a memory budget: the weights that every token needs stay in memory, the "
        "experts of a mixture are read from the disk when they are chosen and kept while there is room. The budget "
        "changes the speed, never the text: the same prompt, seed and settings give the same answer at every "
        "budget.");
    man_section(out, "STANDARD INPUT AND OUTPUT");
    man_lead(out, "Without a text, and for the word -, text is read from standard input. When leat run has a prompt "
                  "and standard input is a pipe or a file, what comes from there follows the prompt after an empty "
                  "line; < /dev/null prevents that. Only the model's text, or the JSON document, goes to standard "
                  "output. On a terminal its control characters are shown as U+FFFD.");
}

static void print_command(void *user, const char *head, const char *help) { man_item(user, head, help); }

static void print_chat(output *out)
{
    man_section(out, "COMMANDS OF A CHAT");
    chat_list_commands(print_command, out);
    man_paragraph(out, "A question that begins with a slash is typed with two. Ctrl-C stops an answer, twice within a "
                       "second, or again before it has stopped, the program; Tab completes commands and files; Ctrl-G "
                       "opens the line in $VISUAL.");
}

static void print_environment(output *out)
{
    man_section(out, "ENVIRONMENT");
    man_lead(out, "Every option is also a variable (--max-tokens is LEAT_MAX_TOKENS) and a key of the configuration "
                  "files, leat.conf(5), which has the order in which they count.");
    man_item(out, "LEAT_MODELS",
             "folders, separated by colons, in which leat list looks for models beside the Hugging Face cache");
    man_item(out, "LEAT_NOHISTORY", "when set, leat chat keeps no history file");
    man_item(out, "HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME", "where the Hugging Face cache is");
    man_item(out, "NO_COLOR, CLICOLOR_FORCE", "switch colours off or on");
    man_item(out, "VISUAL, EDITOR", "what /edit and Ctrl-G of leat chat start");
}

static void print_files(output *out)
{
    man_section(out, "FILES");
    man_item(out, "/etc/leat/config, $XDG_CONFIG_HOME/leat/config", "settings, see leat.conf(5)");
    man_item(out, "$XDG_STATE_HOME/leat/history",
             "what was typed into leat chat; lines that begin with a space are not kept");
    man_item(out, "$XDG_CACHE_HOME/leat", "what runs learn about models and drives (--profile, --probe)");
    man_item(out, "$XDG_RUNTIME_DIR/leat", "leases, by which processes divide memory (--lease)");
}

void man_leat(output *out)
{
    man_begin(out, "LEAT", "1", "User Commands");
    man_section(out, "NAME");
    output_print(out, "leat \\- run language models larger than the machine's memory\n");
    man_section(out, "SYNOPSIS");
    output_print(out, ".B leat\n.I VERB\n.RI [ options ]\n.RI [ words ...]\n");
    print_description(out);
    man_section(out, "VERBS");
    for (uint32_t i = 0; i < VERB_COUNT; i++) print_verb(out, &verb_specs[i]);
    man_options(out, ~0u, 1u << VERB_SERVE, true);
    man_paragraph(out, "What only leat serve takes is in leat-serve(1).");
    man_section(out, "EXIT STATUS");
#define X(code, meaning) man_item(out, code, meaning);
    EXIT_CODE_MAP(X)
#undef X
    print_chat(out);
    print_environment(out);
    print_files(out);
    man_examples(out, VERB_COUNT);
    man_section(out, "SEE ALSO");
    output_print(out, ".BR leat\\-serve (1),\n.BR leat.conf (5)\n");
}
