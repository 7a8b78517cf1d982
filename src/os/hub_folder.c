#include "os/hub_folder.h"

#include "base/bytes.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* `value` with "~/" expanded, and `below` behind it. */
static bool join(const char *value, const char *below, char out[HUB_FOLDER_BYTES])
{
    const char *home = getenv("HOME");
    bool is_expanded = value[0] == '~' && value[1] == '/' && home;
    int length =
        snprintf(out, HUB_FOLDER_BYTES, "%s%s%s", is_expanded ? home : "", is_expanded ? value + 1 : value, below);
    return length >= 0 && length < HUB_FOLDER_BYTES;
}

leat_status hub_folder_find(char out_folder[HUB_FOLDER_BYTES], leat_error *error)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HUGGINGFACE_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        const char *value = getenv(places[i].variable);
        if (!value || !value[0]) continue;
        if (join(value, places[i].below, out_folder)) return LEAT_OK;
        return FAIL(error, MODEL, "%s: the path in this environment variable is too long", places[i].variable);
    }
    return FAIL(error, MODEL, "no Hugging Face cache: neither HF_HUB_CACHE nor HF_HOME nor HOME is set");
}
