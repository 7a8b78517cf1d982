/*
 * conversation_file.h - a conversation in a file: one JSON document "leat.chat/1" with the messages, the system's text,
 * the settings of the answers, the seed of the next one, and which model it was.
 *
 *     {"schema": "leat.chat/1", "model": {"name": "...", "fingerprint": "..."}, "system": "...",
 *      "settings": {"temp": "0.7", "stop": ["..."], ...}, "seed": 7, "tools": [...],
 *      "messages": [{"role": "user", "content": "..."},
 *                   {"role": "assistant", "content": "...", "reasoning_content": "...", "tool_calls": [...]}]}
 *
 * Keys and values are not kept: whoever loads it computes them again, and the next answer is the same. A file is read
 * as if an enemy had written it; what is wrong with it is an error that names the byte, and changes nothing.
 */
#ifndef CLI_CONVERSATION_FILE_H
#define CLI_CONVERSATION_FILE_H

#include "conversation.h"

enum { CONVERSATION_FILE_BYTES_MAX = 16 << 20 };

typedef struct kept_conversation {
    conversation talk;
    strbuf model_name, fingerprint;
    strbuf tools;    /* a JSON array; "": none */
    strbuf settings; /* names and values of options as /set takes them, each terminated, one behind the other */
    bool has_seed;
    uint64_t seed; /* of the next answer */
} kept_conversation;

typedef struct kept_setting {
    const char *name, *value;
} kept_setting;

void kept_conversation_init(kept_conversation *k, mem *ledger);
void kept_conversation_reset(kept_conversation *k);
/* Adds a setting; what may be repeated comes one behind the other. */
MUST_CHECK leat_status kept_setting_add(kept_conversation *k, const char *name, const char *value, leat_error *error);
/* The settings in order: *at begins with 0; false behind the last. They live until the next one is added. */
bool kept_setting_next(const kept_conversation *k, size_t *at, kept_setting *out);

/* Appends the document. */
MUST_CHECK leat_status conversation_document(const kept_conversation *k, strbuf *text, leat_error *error);
/* Reads into an initialised *out. LEAT_USAGE: it cannot be read, or is no such document. */
MUST_CHECK leat_status conversation_read(const char *name, const char *text, uint64_t bytes, kept_conversation *out,
                                         leat_error *error);
MUST_CHECK leat_status conversation_load(const char *path, kept_conversation *out, leat_error *error);
/* Whole or not at all, readable by its owner only. LEAT_USAGE when `path` is there and no such document, unless `force`
 * is set, or cannot be written. */
MUST_CHECK leat_status conversation_save(const kept_conversation *k, const char *path, bool force, leat_error *error);

#endif
