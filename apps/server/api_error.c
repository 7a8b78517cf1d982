#include "server/api_error.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct fault_facts {
    int http_status;
    const char *type, *code;
    int retry_s;
} fault_facts;

static const fault_facts facts[API_FAULT_COUNT] = {
#define X(name, status, type, code, retry) {status, type, code, retry},
    API_FAULT_MAP(X)
#undef X
};

bool api_fail(api_error *error, api_fault fault, const char *param, const char *format, ...)
{
    va_list arguments;
    *error = (api_error){.fault = fault};
    if (facts[fault].retry_s > 0) error->retry_after_s = (uint32_t)facts[fault].retry_s;
    snprintf(error->param, sizeof error->param, "%s", param ? param : "");
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return false;
}

bool api_fail_status(api_error *error, const leat_error *from, const char *param)
{
    switch (from->status) {
    case LEAT_USAGE: return api_fail(error, API_INVALID_VALUE, param, "%s", from->text);
    case LEAT_CONTEXT: return api_fail(error, API_CONTEXT_LENGTH, param, "The context is full.");
    case LEAT_BUDGET:
    case LEAT_NO_MEMORY: return api_fail(error, API_NO_MEMORY, NULL, "The server has no memory for this request.");
    case LEAT_IO: return api_fail(error, API_IO, NULL, "Reading the model failed.");
    case LEAT_MODEL: return api_fail(error, API_MODEL_CORRUPT, NULL, "The model's files cannot be used for this.");
    case LEAT_CANCELLED: return api_fail(error, API_SHUTTING_DOWN, NULL, "The request was cancelled by the server.");
    default: return api_fail(error, API_INTERNAL, NULL, "An internal error.");
    }
}

int api_error_http_status(const api_error *error) { return facts[error->fault].http_status; }
bool api_error_is_final(const api_error *error) { return facts[error->fault].retry_s == API_RETRY_NEVER; }

void api_error_write(const api_error *error, json_writer *w)
{
    json_writer_begin_object(w, "error");
    json_writer_text(w, "message", error->message);
    json_writer_text(w, "type", facts[error->fault].type);
    json_writer_text(w, "param", error->param[0] != '\0' ? error->param : NULL);
    json_writer_text(w, "code", facts[error->fault].code);
    if (error->fault == API_CONTEXT_LENGTH && error->ctx > 0) {
        json_writer_u64(w, "n_prompt_tokens", error->prompt_count);
        json_writer_u64(w, "n_ctx", error->ctx);
    }
    json_writer_end_object(w);
}
