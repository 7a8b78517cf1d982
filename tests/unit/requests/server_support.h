/* server_support.h - requests for tests: a ledger that must be empty in the end, and bodies written with ' for ". */
#ifndef TESTS_SERVER_SUPPORT_H
#define TESTS_SERVER_SUPPORT_H

#include "server/generation_request.h"

/* A vocabulary of 4096 tokens; the library's default sampling. */
extern request_limits test_limits;

mem *open_test_ledger(void);
void close_test_ledger(mem **ledger);
/* A test's own, between set_up_ledger and tear_down_ledger. */
extern mem *test_ledger;
int set_up_ledger(void **state);
int tear_down_ledger(void **state);
/* The body with every ' made a "; static, valid until the next call. */
const char *quoted(const char *body);
/* The error's HTTP status, param and code are these; NULL: null. */
void assert_blames(const api_error *error, const char *body, const char *param, const char *code);

#endif
