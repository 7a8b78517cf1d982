/* jinja_lexer.h - the source of a template as tokens, with the rules of white space already applied. */
#ifndef TEXT_JINJA_LEXER_H
#define TEXT_JINJA_LEXER_H

#include "text/jinja/jinja_value.h"

typedef enum jinja_token_kind {
    JT_DATA, /* text between tags */
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_PRINT_BEGIN,
    JT_PRINT_END,
    JT_NAME,
    JT_STRING,
    JT_INTEGER,
    JT_FLOAT,
    JT_SIGN, /* an operator: its text */
    JT_END
} jinja_token_kind;

typedef struct jinja_token {
    uint8_t kind;
    uint32_t line;
    uint64_t count;
    const char *text; /* DATA, NAME, SIGN: in the source; STRING: decoded; numbers: without underscores */
} jinja_token;

/* Tokens live in `env`, text too or in `source`, whose line ends are already \n. The last one is JT_END. */
MUST_CHECK leat_status jinja_lex(jinja_env *env, const char *source, uint64_t bytes, jinja_token **out,
                                 uint64_t *out_count);

#endif
