/* api_reply.c - whole replies of the API: JSON documents and errors. */
#include "server/api.h"

#include <stdio.h>

static void set_retry(http_exchange *x, const api_error *error, int status)
{
    char seconds[16];
    if (error->retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%u", error->retry_after_s);
        http_set_header(x, "Retry-After", seconds);
    }
    if (status == 429) http_set_header(x, "x-should-retry", "true");
    if (api_error_is_final(error)) http_set_header(x, "x-should-retry", "false");
}

void api_reply_error(api *a, http_exchange *x, const api_error *error)
{
    json_writer w;
    strbuf text = {.ledger = a->settings.ledger};
    int status = api_error_http_status(error);
    set_retry(x, error, status);
    json_writer_init_text(&w, &text);
    json_writer_begin_object(&w, NULL);
    api_error_write(error, &w);
    json_writer_text(&w, "request_id", http_request_id(x));
    json_writer_end_object(&w);
    /* Without memory for the body an empty one says at least the status. */
    http_reply(x, status, "application/json", strbuf_text(&text), w.status == LEAT_OK ? text.count : 0);
    strbuf_reset(&text);
}

void api_reply_json(api *a, http_exchange *x, const json_writer *w, const strbuf *text)
{
    api_error error;
    if (w->status == LEAT_OK) {
        http_reply(x, 200, "application/json", strbuf_text(text), text->count);
        return;
    }
    api_fail(&error, API_NO_MEMORY, NULL, "The server has no memory for this reply.");
    api_reply_error(a, x, &error);
}
