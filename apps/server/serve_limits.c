#include "serve_limits.h"

#include "cli/option_value.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

typedef struct limit_name {
    const char *name;
    size_t offset;
} limit_name;

#define LIMIT(field)                                                                                                   \
    {                                                                                                                  \
#field, offsetof(http_limits, field)                                                                           \
    }
static const limit_name names[] = {
    LIMIT(line_bytes),
    LIMIT(header_bytes),
    LIMIT(header_count),
    LIMIT(header_ms),
    LIMIT(body_ms),
    LIMIT(idle_ms),
    LIMIT(stall_ms),
    LIMIT(stall_bytes),
    LIMIT(stream_bytes),
    LIMIT(connections),
    LIMIT(address_connections),
};

static bool set(http_limits *limits, char *setting)
{
    char *equals = strchr(setting, '=');
    uint64_t value;
    if (!equals || !value_read_u64(equals + 1, &value) || value > UINT32_MAX) return false;
    *equals = '\0';
    if (strcmp(setting, "loopback_counts") == 0) {
        limits->loopback_counts = value != 0;
        return true;
    }
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(setting, names[i].name) != 0) continue;
        *(uint32_t *)(void *)((char *)limits + names[i].offset) = (uint32_t)value;
        return true;
    }
    return false;
}

leat_status serve_limits_read(const cli_options *options, http_limits *out_limits, leat_error *error)
{
    http_limits limits = http_limits_default;
    char text[512], *rest = text;
    const char *variable = getenv("LEAT_SERVE_LIMITS");
    limits.body_bytes = options->max_body;
    if (variable && strlen(variable) < sizeof text) {
        memcpy(text, variable, strlen(variable) + 1);
        while (rest && *rest)
            if (!set(&limits, strsep(&rest, ",")))
                return FAIL(error, USAGE, "LEAT_SERVE_LIMITS: '%s' has something unknown", variable);
    }
    *out_limits = limits;
    return LEAT_OK;
}
