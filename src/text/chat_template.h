/*
 * chat_template.h - where a model's chat template and the names of its special tokens come from.
 *
 * Templates: chat_template.jinja, else the member chat_template of tokenizer_config.json (a string, or a list of
 * {name, template} of which "default" and "tool_use" count), else that of chat_template.json; where a folder has none,
 * a small one of our own for the control tokens of Gemma 4, ChatML and Llama 3 (chat_builtin.c). Special tokens: the
 * members of tokenizer_config.json whose names end in "_token", then those of special_tokens_map.json.
 *
 * Only texts are handled here; nothing is compiled.
 * Threads: constant after chat_source_find.
 */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include "text/tokenizer.h"

/* The files of a folder, as far as they exist; bytes NULL: it does not. */
typedef struct chat_file {
    const char *bytes;
    uint64_t count;
} chat_file;

typedef struct chat_files {
    chat_file template_jinja;     /* chat_template.jinja */
    chat_file tokenizer_config;   /* tokenizer_config.json */
    chat_file template_json;      /* chat_template.json */
    chat_file special_tokens_map; /* special_tokens_map.json */
} chat_files;

typedef struct chat_source {
    const char *origin;     /* "chat_template.jinja", ..., "built in"; NULL: there is no template */
    text_buffer plain;      /* the template */
    text_buffer with_tools; /* another for requests with tools; empty: the same */
    text_buffer specials;   /* a JSON object: {"bos_token": "<s>", ...}; empty: none are known */
} chat_source;

void chat_source_init(chat_source *source, mem *ledger);
void chat_source_reset(chat_source *source);
/* Fills an empty source from a folder's files; `t` says which special tokens there are (NULL: all are taken).
 * LEAT_MODEL names the file that cannot be read. */
MUST_CHECK leat_status chat_source_find(const chat_files *files, const tokenizer *t, chat_source *source,
                                        leat_error *error);

/* What a template looks like: "gemma4", "chatml", "llama3", "mistral", ..., "other". */
const char *chat_template_family(const char *text, uint64_t bytes);

/* chat_builtin.c */
typedef struct chat_builtin {
    const char *family;    /* "gemma4", "chatml", "llama3" */
    const char *text;      /* the template */
    const char *bos;       /* the token that every prompt of the family begins with, or NULL */
    const char *needed[5]; /* the control tokens by which it is known; NULL ends */
} chat_builtin;
/* The one whose control tokens the vocabulary has, or NULL. */
const chat_builtin *chat_builtin_find(const tokenizer *t);

#endif
