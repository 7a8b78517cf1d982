/*
 * api_error.h - what went wrong with a request, as its client is told: an HTTP status, one of OpenAI's error types, a
 * code that programs can compare, the field that is at fault and a sentence for people.
 *
 * Functions that look at requests return a bool and fill one of these: unlike a leat_error it names the field. Texts
 * never hold paths, addresses or the system's words: what came from a leat_error is logged under the request's id, and
 * the client hears its kind only, unless the request itself was at fault.
 */
#ifndef SERVER_API_ERROR_H
#define SERVER_API_ERROR_H

#include "cli/json_writer.h"

#include <leat/leat.h>

/* retry: in how many seconds trying again may help, where nobody knows better (Retry-After). 0: nothing is said. */
enum { API_RETRY_NEVER = -1 };
/*    name, HTTP status, type, code, retry */
#define API_FAULT_MAP(X)                                                                                               \
    X(INVALID_JSON, 400, "invalid_request_error", "invalid_json", 0)                                                   \
    X(INVALID_TYPE, 400, "invalid_request_error", "invalid_type", 0)                                                   \
    X(INVALID_VALUE, 400, "invalid_request_error", "invalid_value", 0)                                                 \
    X(OUT_OF_RANGE, 400, "invalid_request_error", "out_of_range", 0)                                                   \
    X(MISSING, 400, "invalid_request_error", "missing_required_parameter", 0)                                          \
    X(UNSUPPORTED_PARAMETER, 400, "invalid_request_error", "unsupported_parameter", 0)                                 \
    X(CONTEXT_LENGTH, 400, "invalid_request_error", "context_length_exceeded", 0)                                      \
    X(TEMPLATE, 400, "invalid_request_error", "template_error", 0)                                                     \
    X(MODEL_NOT_FOUND, 404, "not_found_error", "model_not_found", 0)                                                   \
    X(TIMEOUT, 408, "timeout_error", "request_timeout", API_RETRY_NEVER)                                               \
    X(QUEUE_FULL, 429, "rate_limit_error", "queue_full", 1)                                                            \
    X(INTERNAL, 500, "server_error", "internal", API_RETRY_NEVER)                                                      \
    X(NOT_SUPPORTED, 501, "not_supported_error", "not_supported", API_RETRY_NEVER)                                     \
    X(NO_MEMORY, 503, "unavailable_error", "out_of_memory", 1)                                                         \
    X(IO, 503, "unavailable_error", "io_error", 5)                                                                     \
    X(MODEL_CORRUPT, 503, "unavailable_error", "model_corrupt", API_RETRY_NEVER)                                       \
    X(LOADING, 503, "unavailable_error", "loading", 5)                                                                 \
    X(SHUTTING_DOWN, 503, "unavailable_error", "shutting_down", 5)

typedef enum api_fault {
#define X(name, status, type, code, retry) API_##name,
    API_FAULT_MAP(X)
#undef X
        API_FAULT_COUNT
} api_fault;

enum { API_PARAM_BYTES = 96, API_MESSAGE_BYTES = 512 };

typedef struct api_error {
    api_fault fault;
    char param[API_PARAM_BYTES]; /* "messages[2].content"; "" is null */
    char message[API_MESSAGE_BYTES];
    uint32_t prompt_count, ctx; /* of CONTEXT_LENGTH */
    uint32_t retry_after_s;     /* 0: nothing is said */
} api_error;

/* Fills the error and returns false, for `return api_fail(...)`. param may be NULL. */
bool api_fail(api_error *error, api_fault fault, const char *param, const char *format, ...) PRINTF_LIKE(4, 5);
/* What a failure of the library means to a client. LEAT_USAGE is the request's own fault, is said in the library's
 * words and blames `param`. */
bool api_fail_status(api_error *error, const leat_error *from, const char *param);
int api_error_http_status(const api_error *error);
/* Whether trying again cannot help (x-should-retry: false). */
bool api_error_is_final(const api_error *error);
/* The member "error": {"message", "type", "param", "code"} of an object that is open. */
void api_error_write(const api_error *error, json_writer *w);

#endif
