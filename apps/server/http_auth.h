/*
 * http_auth.h - API keys. Only their SHA-256 is kept; what a client sends is hashed too and compared with all of them,
 * in a time that does not depend on where they differ.
 *
 * Keys come from options (whose bytes are wiped, so that ps does not show them), from a file with one key a line, which
 * nobody else may read, and from $CREDENTIALS_DIRECTORY/api-key (systemd's LoadCredential). Files are read again by
 * http_auth_reload.
 *
 * Threads: any.
 */
#ifndef SERVER_HTTP_AUTH_H
#define SERVER_HTTP_AUTH_H

#include "http.h"

enum { HTTP_KEY_DIGEST_BYTES = 32, HTTP_KEY_BYTES_MAX = 512, HTTP_KEYS_MAX = 256 };

/* `keys` may be NULL items; their bytes are overwritten. key_file may be NULL. *out_auth is NULL when there is no key
 * at all. LEAT_PERMISSION: the file may be read by others. LEAT_USAGE: it is not there, or what it holds is no key. */
MUST_CHECK leat_status http_auth_open(mem *ledger, char *const *keys, uint32_t key_count, const char *key_file,
                                      http_auth **out_auth, leat_error *error);
void http_auth_close(http_auth **auth);
/* Reads the files again. On failure the keys stay as they are. */
MUST_CHECK leat_status http_auth_reload(http_auth *auth, leat_error *error);
/* Whether the values of Authorization ("Bearer KEY") or x-api-key, each or both NULL, hold a key. */
bool http_auth_check(http_auth *auth, const char *authorization, const char *api_key);

#endif
