#include "server/unknown_fields.h"

#include "base/log.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t lock; /* guards all below but is_wanted */
    bool is_wanted;
    char names[UNKNOWN_FIELDS_MAX][UNKNOWN_FIELD_BYTES];
    uint32_t count;
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

void unknown_fields_tell(bool is_wanted)
{
    told.is_wanted = is_wanted;
    told.count = 0;
}

static bool is_among(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name) != 0) names++;
    return *names != NULL;
}

static bool looks_like_a_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t count = strlen(name);
    return count > 0 && count < UNKNOWN_FIELD_BYTES && strspn(name, letters) == count;
}

/* True the first time. */
static bool remember(const char *name)
{
    bool is_new;
    uint32_t i = 0;
    pthread_mutex_lock(&told.lock);
    while (i < told.count && strcmp(told.names[i], name) != 0) i++;
    is_new = i == told.count && told.count < UNKNOWN_FIELDS_MAX;
    if (is_new) memcpy(told.names[told.count++], name, strlen(name) + 1);
    pthread_mutex_unlock(&told.lock);
    return is_new;
}

void unknown_fields_note(const json_t *body, const char *const *known, const char *const *known_too)
{
    const char *name;
    json_t *value;
    if (!told.is_wanted) return;
    json_object_foreach((json_t *)body, name, value)
    {
        if (is_among(known, name) || is_among(known_too, name) || !looks_like_a_name(name)) continue;
        if (remember(name)) log_write(LOG_INFO, "requests have a field '%s', which is not known and ignored", name);
    }
}
