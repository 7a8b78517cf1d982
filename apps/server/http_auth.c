#include "http_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 64 * 1024, PATH_BYTES = 4096 };

typedef struct key_set {
    uint8_t digests[HTTP_KEYS_MAX][HTTP_KEY_DIGEST_BYTES];
    uint32_t count;
} key_set;

struct http_auth {
    mem *ledger;
    char key_file[PATH_BYTES], credential[PATH_BYTES]; /* "" for none */
    key_set given;                                     /* by options: they stay */
    pthread_mutex_t lock;                              /* guards current */
    key_set current;
};

static leat_status add_key(key_set *set, const char *where, const char *key, size_t bytes, leat_error *error)
{
    if (set->count == HTTP_KEYS_MAX) return FAIL(error, USAGE, "%s: more than %d keys", where, HTTP_KEYS_MAX);
    bool is_visible = bytes > 0 && bytes <= HTTP_KEY_BYTES_MAX;
    for (size_t i = 0; i < bytes; i++) is_visible = is_visible && key[i] > ' ' && key[i] < 127;
    if (!is_visible)
        return FAIL(error, USAGE, "%s: a key has 1 to %d visible ASCII characters", where, HTTP_KEY_BYTES_MAX);
    SHA256((const unsigned char *)key, bytes, set->digests[set->count++]);
    return LEAT_OK;
}

/* ---- files ---- */

static leat_status check_file(int fd, const char *path, bool is_credential, leat_error *error)
{
    struct stat s;
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size > FILE_BYTES_MAX)
        return FAIL(error, USAGE, "--api-key-file: %s is not a file of at most %d bytes", path, FILE_BYTES_MAX);
    if (is_credential) return LEAT_OK; /* its folder is ours alone */
    if ((s.st_mode & (S_IRWXG | S_IRWXO)) != 0 || (s.st_uid != geteuid() && s.st_uid != 0)) {
        leat_status status = FAIL(error, PERMISSION, "--api-key-file: %s can be read by others", path);
        status_hint(error, "chmod 600 %s", path);
        return status;
    }
    return LEAT_OK;
}

static leat_status add_lines(key_set *set, const char *path, char *text, leat_error *error)
{
    while (text) {
        char *line = strsep(&text, "\n");
        size_t bytes = strcspn(line, "\r");
        if (bytes == 0 || *line == '#') continue;
        TRY(add_key(set, path, line, bytes, error));
    }
    return LEAT_OK;
}

static leat_status add_file(key_set *set, const char *path, bool is_credential, leat_error *error)
{
    static char text[FILE_BYTES_MAX + 1]; /* the caller holds the lock, or is alone */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return FAIL_OS(error, USAGE, errno, "--api-key-file: %s: %s", path, strerror(errno));
    leat_status status = check_file(fd, path, is_credential, error);
    size_t used = 0;
    ssize_t count = 1;
    while (status == LEAT_OK && count > 0 && used < FILE_BYTES_MAX) {
        count = read(fd, text + used, FILE_BYTES_MAX - used);
        if (count > 0) used += (size_t)count;
    }
    text[used] = '\0';
    close(fd);
    if (status == LEAT_OK && count < 0) status = FAIL_OS(error, IO, errno, "--api-key-file: %s: read failed", path);
    if (status == LEAT_OK) status = add_lines(set, path, text, error);
    OPENSSL_cleanse(text, sizeof text);
    return status;
}

leat_status http_auth_reload(http_auth *auth, leat_error *error)
{
    key_set *fresh;
    leat_status status = LEAT_OK;
    TRY(MEM_NEW(auth->ledger, META, 1, &fresh, error));
    pthread_mutex_lock(&auth->lock);
    *fresh = auth->given;
    if (auth->key_file[0]) status = add_file(fresh, auth->key_file, false, error);
    if (status == LEAT_OK && auth->credential[0]) status = add_file(fresh, auth->credential, true, error);
    if (status == LEAT_OK && fresh->count == 0) status = FAIL(error, USAGE, "--api-key-file: there is no key in it");
    if (status == LEAT_OK)
        auth->current = *fresh;
    else if (error->os_errno == EACCES && auth->current.count > 0)
        status_hint(error, "in the sandbox the file must be rewritten in place: another one in its place is closed");
    pthread_mutex_unlock(&auth->lock);
    mem_free(auth->ledger, fresh);
    return status;
}

/* ---- opening ---- */

/* systemd gives a service credentials of which ours may not be one. One that is there and cannot be read is no reason
 * to serve without a key: reading it fails then. */
static leat_status find_credential(http_auth *auth, leat_error *error)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!folder) return LEAT_OK;
    int bytes = snprintf(auth->credential, sizeof auth->credential, "%s/api-key", folder);
    if (bytes < 0 || (size_t)bytes >= sizeof auth->credential)
        return FAIL(error, USAGE, "$CREDENTIALS_DIRECTORY: the path is too long");
    if (access(auth->credential, F_OK) != 0 && errno == ENOENT) auth->credential[0] = '\0';
    return LEAT_OK;
}

static leat_status take_options(http_auth *auth, char *const *keys, uint32_t count, leat_error *error)
{
    leat_status status = LEAT_OK;
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = strlen(keys[i]);
        if (status == LEAT_OK) status = add_key(&auth->given, "--api-key", keys[i], bytes, error);
        OPENSSL_cleanse(keys[i], bytes);
    }
    return status;
}

leat_status http_auth_open(mem *ledger, char *const *keys, uint32_t key_count, const char *key_file,
                           http_auth **out_auth, leat_error *error)
{
    http_auth *auth;
    leat_status status;
    *out_auth = NULL;
    TRY(MEM_NEW(ledger, META, 1, &auth, error));
    auth->ledger = ledger;
    pthread_mutex_init(&auth->lock, NULL);
    TRY_OR(failed, find_credential(auth, error));
    TRY_OR(failed, take_options(auth, keys, key_count, error));
    if (key_file && strlen(key_file) >= sizeof auth->key_file) {
        status = FAIL(error, USAGE, "--api-key-file: the path is too long");
        goto failed;
    }
    if (key_file) snprintf(auth->key_file, sizeof auth->key_file, "%s", key_file);
    if (auth->given.count == 0 && !auth->key_file[0] && !auth->credential[0]) {
        http_auth_close(&auth);
        return LEAT_OK;
    }
    TRY_OR(failed, http_auth_reload(auth, error));
    *out_auth = auth;
    return LEAT_OK;
failed:
    http_auth_close(&auth);
    return status;
}

void http_auth_close(http_auth **auth_slot)
{
    http_auth *auth = *auth_slot;
    *auth_slot = NULL;
    if (!auth) return;
    pthread_mutex_destroy(&auth->lock);
    OPENSSL_cleanse(&auth->given, sizeof auth->given);
    OPENSSL_cleanse(&auth->current, sizeof auth->current);
    mem_free(auth->ledger, auth);
}

/* ---- checking ---- */

/* All keys are compared, and every byte of each. */
static bool is_known(http_auth *auth, const char *key)
{
    int found = 0;
    uint8_t digest[HTTP_KEY_DIGEST_BYTES];
    SHA256((const unsigned char *)key, strlen(key), digest);
    pthread_mutex_lock(&auth->lock);
    for (uint32_t i = 0; i < auth->current.count; i++)
        found |= CRYPTO_memcmp(auth->current.digests[i], digest, HTTP_KEY_DIGEST_BYTES) == 0;
    pthread_mutex_unlock(&auth->lock);
    return found;
}

bool http_auth_check(http_auth *auth, const char *authorization, const char *api_key)
{
    static const char bearer[] = "Bearer ";
    if (authorization && strncasecmp(authorization, bearer, sizeof bearer - 1) == 0) {
        const char *key = authorization + sizeof bearer - 1;
        key += strspn(key, " ");
        if (is_known(auth, key)) return true;
    }
    return api_key && is_known(auth, api_key);
}
