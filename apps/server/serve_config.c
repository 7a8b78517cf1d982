#include "serve_config.h"

#include "api_routes.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

/* ---- options and where they come from ---- */

static void print_size(output *out, uint64_t bytes)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (unit + 1 < ARRAY_COUNT(units) && bytes > 0 && bytes % 1024 == 0) bytes /= 1024, unit++;
    output_print(out, "%llu%s", (unsigned long long)bytes, units[unit]);
}

static void print_choice(output *out, const char *words, uint32_t index)
{
    for (; index > 0; index--) words = strchr(words, '|') + 1;
    output_print(out, "%.*s", (int)strcspn(words, "|"), words);
}

static void print_texts(output *out, const option_texts *texts)
{
    for (uint32_t i = 0; i < texts->count; i++) output_print(out, "%s%s", i > 0 ? ", " : "", texts->items[i]);
}

static void print_value(output *out, const option_spec *spec, const void *field)
{
    const option_ram *ram = field;
    switch (spec->kind) {
    case KIND_FLAG:
    case KIND_ACTION: output_print(out, "%s", *(const bool *)field ? "on" : "off"); break;
    case KIND_TEXT: output_print(out, "%s", *(const char *const *)field ? *(const char *const *)field : ""); break;
    case KIND_TEXTS: print_texts(out, field); break;
    case KIND_AUTO:
    case KIND_LIMIT:
    case KIND_COUNTER:
    case KIND_COUNT:
        if (spec->kind == KIND_AUTO && *(const uint32_t *)field == 0)
            output_print(out, "auto");
        else if (spec->kind == KIND_LIMIT && *(const uint32_t *)field == UINT32_MAX)
            output_print(out, "none");
        else
            output_print(out, "%u", *(const uint32_t *)field);
        break;
    case KIND_NUMBER: output_print(out, "%g", *(const double *)field); break;
    case KIND_SEED: output_print(out, "%llu", (unsigned long long)*(const uint64_t *)field); break;
    case KIND_SECONDS: output_print(out, "%us", *(const uint32_t *)field); break;
    case KIND_SIZE: print_size(out, *(const uint64_t *)field); break;
    case KIND_RAM:
        if (ram->fraction > 0)
            output_print(out, "%g%%", ram->fraction * 100);
        else if (ram->bytes > 0)
            print_size(out, ram->bytes);
        else
            output_print(out, "auto");
        break;
    case KIND_CHOICE: print_choice(out, spec->value, *(const uint32_t *)field); break;
    }
}

static const char *origin_of(const cli_options *options, option_id id)
{
    if (options->is_on_command_line[id]) return "the command line";
    if (options->is_set[id] && options->source[id]) return options->source[id];
    return "the default";
}

void serve_config_print(cli *c)
{
    output *out = &c->out;
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        const option_spec *spec = &option_specs[i];
        if (!option_is_of_verb(spec, VERB_SERVE) || spec->kind == KIND_ACTION || i == OPTION_print_config ||
            i == OPTION_print_client_config)
            continue;
        output_print(out, "%s = ", spec->name);
        if (i == OPTION_api_key && c->options.api_key.count > 0)
            output_print(out, "(%u, not shown)", c->options.api_key.count);
        else if (!c->options.is_set[i] && spec->initial[0] == '(')
            output_print(out, "%s", spec->initial);
        else
            print_value(out, spec, (const char *)&c->options + spec->offset);
        output_print(out, "  # %s\n", origin_of(&c->options, (option_id)i));
    }
}

/* ---- clients ---- */

/* In the texts @URL, @MODEL and @KEY stand for the server's. `path` is what the client posts to. */
static const struct {
    const char *client, *path, *text;
} clients[] = {
    {"openai", "/v1/chat/completions",
     "# Python, package openai\n"
     "from openai import OpenAI\n"
     "\n"
     "# A slow answer takes longer than the client's usual ten minutes.\n"
     "client = OpenAI(base_url=\"@URL/v1\", api_key=\"@KEY\", timeout=3600, max_retries=0)\n"
     "stream = client.chat.completions.create(\n"
     "    model=\"@MODEL\", messages=[{\"role\": \"user\", \"content\": \"Hello\"}], stream=True)\n"
     "for chunk in stream:\n"
     "    if chunk.choices:\n"
     "        print(chunk.choices[0].delta.content or \"\", end=\"\", flush=True)\n"},
    {"curl", "/v1/chat/completions",
     "curl -N @URL/v1/chat/completions \\\n"
     "  -H 'Authorization: Bearer @KEY' -H 'Content-Type: application/json' \\\n"
     "  -d '{\"model\": \"@MODEL\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": "
     "\"Hello\"}]}'\n"},
    {"opencode", "/v1/chat/completions",
     "{\n"
     "  \"$schema\": \"https://opencode.ai/config.json\",\n"
     "  \"provider\": {\n"
     "    \"leat\": {\n"
     "      \"npm\": \"@ai-sdk/openai-compatible\",\n"
     "      \"name\": \"leat\",\n"
     "      \"options\": { \"baseURL\": \"@URL/v1\", \"apiKey\": \"@KEY\", \"timeout\": false },\n"
     "      \"models\": { \"@MODEL\": { \"name\": \"@MODEL\" } }\n"
     "    }\n"
     "  },\n"
     "  \"model\": \"leat/@MODEL\"\n"
     "}\n"},
    {"codex", "/v1/responses",
     "# ~/.codex/config.toml; the key is taken from the environment: export LEAT_API_KEY=@KEY\n"
     "model = \"@MODEL\"\n"
     "model_provider = \"leat\"\n"
     "\n"
     "[model_providers.leat]\n"
     "name = \"leat\"\n"
     "base_url = \"@URL/v1\"\n"
     "wire_api = \"responses\"\n"
     "env_key = \"LEAT_API_KEY\"\n"
     "stream_idle_timeout_ms = 3600000\n"},
    {"claude", "/v1/messages",
     "export ANTHROPIC_BASE_URL=@URL\n"
     "export ANTHROPIC_AUTH_TOKEN=@KEY\n"
     "export ANTHROPIC_MODEL=@MODEL\n"
     "export ANTHROPIC_SMALL_FAST_MODEL=@MODEL\n"
     "export API_TIMEOUT_MS=3600000\n"
     "claude\n"},
};

static void print_filled(output *out, const char *text, const char *url, const char *model, const char *key)
{
    const struct {
        const char *mark, *value;
    } marks[] = {{"@URL", url}, {"@MODEL", model}, {"@KEY", key}};
    while (*text) {
        size_t plain = strcspn(text, "@"), i = 0;
        output_write(out, text, plain);
        text += plain;
        while (*text && i < ARRAY_COUNT(marks) && strncmp(text, marks[i].mark, strlen(marks[i].mark)) != 0) i++;
        if (*text && i < ARRAY_COUNT(marks)) {
            output_print(out, "%s", marks[i].value);
            text += strlen(marks[i].mark);
        } else if (*text) {
            output_write(out, text++, 1);
        }
    }
}

static bool is_served(const char *path)
{
    for (uint32_t i = 0; i < api_route_count; i++)
        if (strcmp(api_routes[i].path, path) == 0) return api_routes[i].handler != route_unsupported;
    return false;
}

/* "http://127.0.0.1:8080": where a client on this machine finds the server. */
static leat_status make_url(const cli_options *options, char *url, size_t bytes, leat_error *error)
{
    const char *host = options->host;
    bool has_colon = strchr(host, ':') && host[0] != '[';
    if (strncmp(host, "unix:", 5) == 0)
        return FAIL(error, USAGE, "--print-client-config: clients need an address, not a Unix socket");
    if (options->port == 0)
        return FAIL(error, USAGE, "--print-client-config: with --port 0 the port is known only when the server runs");
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0) host = "localhost", has_colon = false;
    snprintf(url, bytes, "http://%s%s%s:%u", has_colon ? "[" : "", host, has_colon ? "]" : "", options->port);
    return LEAT_OK;
}

leat_status serve_config_print_client(cli *c, const char *client, const char *model_path, leat_error *error)
{
    const cli_options *o = &c->options;
    char url[300], name[API_NAME_BYTES];
    size_t i = 0;
    while (i < ARRAY_COUNT(clients) && strcmp(clients[i].client, client) != 0) i++;
    if (i == ARRAY_COUNT(clients))
        return FAIL(error, USAGE, "--print-client-config: '%s' is not one of openai, curl, opencode, codex, claude",
                    client);
    if (!is_served(clients[i].path)) {
        leat_status status =
            FAIL(error, USAGE, "%s needs POST %s, which this server does not have yet", client, clients[i].path);
        status_hint(error, "clients of /v1/chat/completions work: openai, curl, opencode");
        return status;
    }
    TRY(make_url(o, url, sizeof url, error));
    api_name_of(model_path, name);
    const char *key = o->api_key.count > 0 || o->api_key_file ? "YOUR-KEY" : "none";
    print_filled(&c->out, clients[i].text, url, o->alias.count > 0 ? o->alias.items[0] : name, key);
    return LEAT_OK;
}
