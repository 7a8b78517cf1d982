/* man_serve.c - leat-serve(1): the server's process and its endpoints in short; docs/server.md has every field. */
#include "man.h"

#include "base/bytes.h"

typedef struct term {
    const char *term, *text;
} term;

static void print_terms(output *out, const char *title, const term *terms, size_t count)
{
    man_section(out, title);
    for (size_t i = 0; i < count; i++) man_item(out, terms[i].term, terms[i].text);
}

static void print_description(output *out)
{
    man_section(out, "DESCRIPTION");
    man_lead(out, "leat serve answers HTTP/1.1 requests with one model, in the form of OpenAI's API and with some of "
                  "llama.cpp's additions. Options, keys, the address and the model's headers are checked before "
                  "anyone listens; then the server listens, and loads the weights behind it.");
    man_paragraph(out,
                  "One request is computed at a time, the others wait in a queue of --max-queue; what finds it full is "
                  "told when to try again. A request whose client goes away is dropped within a second and within one "
                  "layer, also while its prompt is computed. What the engine still holds of a prompt is not computed "
                  "again; the text is the same either way.");
    man_paragraph(
        out, "The default address is 127.0.0.1, port 8080. One that other machines reach is refused without an API "
             "key, unless --insecure-no-auth says that this is meant. On a loopback address the Host header must "
             "name this machine, and requests of pages of other origins are refused. There is no TLS: put a proxy "
             "in front. With --sandbox auto the process gives up all files and system calls but those that serving "
             "takes (Landlock, seccomp).");
}

static const term endpoints[] = {
    {"POST /v1/chat/completions (also /chat/completions)",
     "a conversation continued, whole or as an event stream: tools, reasoning, logprobs, stop strings, seeds"},
    {"POST /v1/completions", "a text continued"},
    {"GET /v1/models, /v1/models/ID (also /models)", "the model and its limits"},
    {"POST /tokenize, /detokenize, /apply-template", "texts and tokens, without the engine"},
    {"GET /tokenizer_info", "what clients without a tokenizer need to know of it"},
    {"GET /health (also /v1/health)",
     "200 when the model is there; 503 with the progress of loading before; 503 when the model could not be opened "
     "(failed), can no longer be read (degraded, until it can) and when the server is stopping. Needs no key"},
    {"GET /livez", "200 as long as the process takes requests. Needs no key"},
    {"GET /slots, /props, /version", "what the engine does; the settings; the version"},
    {"GET /metrics", "counters and histograms for Prometheus"},
};

static const term signals[] = {
    {"SIGTERM, SIGINT", "no new requests (503), running ones go on for up to --drain seconds, what is left is cut; "
                        "exit status 0. A second "
                        "one ends the process at once, with 143 or 130"},
    {"SIGHUP", "reads --api-key-file again and opens --log-file anew; a key file that cannot be used changes nothing"},
    {"SIGQUIT",
     "writes a line into the log: what the engine does, how long ago something last moved, and what requests "
     "take of memory"},
};

static const term environment[] = {
    {"LEAT_...", "every option, as its description says; see leat.conf(5) for the order"},
    {"CREDENTIALS_DIRECTORY", "systemd's: the file api-key in it holds keys, as --api-key-file does"},
    {"LISTEN_FDS, LISTEN_PID", "systemd's: the socket to listen on, in place of --host and --port"},
    {"NOTIFY_SOCKET, WATCHDOG_USEC", "systemd's: who hears READY, STATUS, STOPPING and WATCHDOG"},
};

static const term files[] = {
    {"/etc/leat/config, $XDG_CONFIG_HOME/leat/config", "settings; those below [serve] are for the server alone"},
    {"/etc/leat/api-key", "the key of the installed service"},
    {"$XDG_CACHE_HOME/leat", "what runs learn about models and drives"},
};

static void print_exit_codes(output *out)
{
    static const char *const codes[] = {"0", "1", "2", "3", "4", "5", "6", "130", "143"};
    man_section(out, "EXIT STATUS");
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) man_exit_code(out, codes[i]);
    man_paragraph(out, "0 is also the status after SIGTERM or SIGINT; 6 is that of an address or port that may not be "
                       "had or is taken. The installed service is not started again after 2, 3 and 4.");
}

static void print_systemd(output *out)
{
    man_section(out, "SYSTEMD");
    man_lead(out, "leat.service and leat.socket are installed with the program, and nothing is enabled by that. The "
                  "service runs as a user of its own with /etc/leat/config, whose key model says what is served, and "
                  "with the key in /etc/leat/api-key. MemoryMax of the unit should be a little above --ram.");
    man_verbatim(out, "systemctl edit leat.service      # MemoryMax=, ReadOnlyPaths= of the models\n"
                      "systemctl enable --now leat.socket leat.service\n"
                      "systemctl reload leat            # new keys\n"
                      "journalctl -u leat\n");
}

void man_serve(output *out)
{
    man_begin(out, "LEAT-SERVE", "1", "User Commands");
    man_section(out, "NAME");
    output_print(out, "leat\\-serve \\- serve a language model over HTTP\n");
    man_section(out, "SYNOPSIS");
    output_print(out, ".B leat serve\n.RI [ options ]\n.I MODEL\n");
    print_description(out);
    print_terms(out, "ENDPOINTS", endpoints, ARRAY_COUNT(endpoints));
    man_paragraph(out,
                  "A key is sent as Authorization: Bearer KEY or x-api-key: KEY. Errors have the body "
                  "{\"error\": {\"message\", \"type\", \"param\", \"code\"}}. Embeddings, responses, messages, infill "
                  "and others that are not there are 501.");
    man_options(out, 1u << VERB_SERVE, 0, false);
    print_terms(out, "SIGNALS", signals, ARRAY_COUNT(signals));
    print_exit_codes(out);
    print_systemd(out);
    print_terms(out, "ENVIRONMENT", environment, ARRAY_COUNT(environment));
    print_terms(out, "FILES", files, ARRAY_COUNT(files));
    man_section(out, "LOG");
    man_lead(out, "One line a request on standard error and in --log-file: method, path, status, bytes, tokens, "
                  "seconds, the request's id. Never text of prompts or answers, never keys.");
    man_examples(out, VERB_SERVE);
    man_section(out, "SEE ALSO");
    output_print(out, ".BR leat (1),\n.BR leat.conf (5),\n.BR systemd.service (5)\n");
}
