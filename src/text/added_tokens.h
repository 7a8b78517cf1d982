/*
 * added_tokens.h - finds added tokens in a text: leftmost, and the longest of those that begin at the same place.
 *
 * Time is linear in the text, whatever the tokens are (added_tokens.c says how).
 *
 * Threads: a matcher is constant after token_matcher_open; every thread searches with lists of its own.
 */
#ifndef TEXT_ADDED_TOKENS_H
#define TEXT_ADDED_TOKENS_H

#include "text/tokenizer.h"

enum {
    ADDED_TOKEN_LIMIT = 64 * 1024,             /* tokens of a file */
    ADDED_TOKEN_BYTES_MAX = 4096,              /* of one token's content */
    ADDED_TOKEN_TOTAL_BYTES = 8 * 1024 * 1024, /* of all of one matcher's patterns */
};

enum added_token_flags {
    ADDED_TOKEN_SPECIAL = 1,
    ADDED_TOKEN_LSTRIP = 2,      /* swallows the white space on its left */
    ADDED_TOKEN_RSTRIP = 4,      /* and on its right */
    ADDED_TOKEN_SINGLE_WORD = 8, /* only where no word character is next to it */
    ADDED_TOKEN_NORMALIZED = 16, /* is searched in the normalised text, normalised itself */
};

typedef struct added_token {
    uint32_t id;
    uint32_t flags;
    const char *content; /* terminated; not empty */
    uint32_t content_bytes;
    const char *shown; /* the content normalised, where the token is searched so; NULL otherwise */
} added_token;

/* A part of a text: an added token, or what lies between two. */
typedef struct token_span {
    uint64_t start, end;
    uint32_t token; /* index of the pattern, TOKEN_SPAN_TEXT between tokens */
} token_span;

#define TOKEN_SPAN_TEXT UINT32_MAX

typedef struct token_span_list {
    token_span *spans;
    uint64_t count, capacity;
} token_span_list;

/* The buffers of a search, reused from one text to the next. */
typedef struct token_search {
    mem *ledger;
    token_span_list candidates; /* right to left; may overlap */
    token_span_list parts;      /* the result */
} token_search;

void token_search_init(token_search *search, mem *ledger);
void token_search_reset(token_search *search);

typedef struct token_pattern {
    const char *text;
    uint32_t bytes; /* empty patterns are never found */
} token_pattern;

typedef struct token_matcher token_matcher;

/* The patterns are copied. Of two equal ones the first is found. `seed`: any number that a file's author cannot know.
 */
MUST_CHECK leat_status token_matcher_open(mem *ledger, uint64_t seed, const token_pattern *patterns, uint32_t count,
                                          token_matcher **out_matcher, leat_error *error);
void token_matcher_close(token_matcher **m);

/* Leaves the parts of the text in search->parts, left to right. tokens[i].flags belong to pattern i and decide what a
 * match swallows and where it is refused; with `tokens` NULL every match counts as it is. A token may swallow white
 * space that is itself a token: such parts overlap, as in the `tokenizers` library. */
MUST_CHECK leat_status token_matcher_split(const token_matcher *m, const added_token *tokens, const char *text,
                                           uint64_t bytes, token_search *search, leat_error *error);

#endif
