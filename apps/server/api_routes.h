/* api_routes.h - the handlers behind the paths of the API; `user` is an api. Which path leads where: api_routes.c. */
#ifndef SERVER_API_ROUTES_H
#define SERVER_API_ROUTES_H

#include "server/api.h"

void route_chat_completions(http_exchange *x, void *user);
void route_completions(http_exchange *x, void *user);

void route_models(http_exchange *x, void *user);
void route_model(http_exchange *x, void *user);
void route_props(http_exchange *x, void *user);
void route_tokenizer_info(http_exchange *x, void *user);

void route_slots(http_exchange *x, void *user);
void route_metrics(http_exchange *x, void *user);
void route_health(http_exchange *x, void *user);
void route_live(http_exchange *x, void *user);
void route_version(http_exchange *x, void *user);

void route_tokenize(http_exchange *x, void *user);
void route_detokenize(http_exchange *x, void *user);
void route_apply_template(http_exchange *x, void *user);

void route_unsupported(http_exchange *x, void *user);

#endif
