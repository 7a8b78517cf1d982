/*
 * text_support.h - what the tests of the text room share: files of the conformance folder, tokenizers from them, and
 * the reading of case files.
 */
#ifndef TESTS_UNIT_TEXT_TEXT_SUPPORT_H
#define TESTS_UNIT_TEXT_TEXT_SUPPORT_H

#include "support/unit.h"

#include "base/json.h"
#include "text/tokenizer.h"

/* The path of a file of the conformance folder (LEAT_CONFORMANCE, or ../shared/conformance beside the source tree), or
 * of the golden files for names that begin with "golden/"; false when there is no such file. */
bool find_data_file(const char *name, char out_path[UNIT_PATH_BYTES]);
/* A whole file in memory of the ledger. */
void read_file(mem *ledger, const char *path, text_buffer *out_text);
/* A tokenizer from PATH. */
tokenizer *open_tokenizer_file(mem *ledger, const char *path);
/* A tokenizer from a folder of the conformance or golden files, whatever kind of file it has; NULL when the folder is
 * not there. */
tokenizer *open_tokenizer_folder(mem *ledger, const char *folder);
/* The kind of file that a folder has; false when the folder is not there. */
bool find_tokenizer_file(const char *folder, tokenizer_file_kind *out_kind, char out_path[UNIT_PATH_BYTES]);
tokenizer *open_tokenizer_text(mem *ledger, const char *json_text);
/* The message of a tokenizer that must be refused with LEAT_MODEL. */
void refuse_tokenizer_text(const char *json_text, size_t bytes, uint32_t vocab_count, leat_error *out_error);

/* Reading of case files; every helper fails the test when the document is not as expected. */
json_token next_token(json *parser);
void enter_object(json *parser);
void read_string(json *parser, text_buffer *out_text);
void read_ids(json *parser, token_list *out_ids);
void read_strings(json *parser, text_buffer *out_texts, uint32_t capacity, uint32_t *out_count, mem *ledger);
bool read_flag(json *parser);
/* Moves to the value of "cases": its elements follow. */
json *open_cases(mem *ledger, const text_buffer *document);

bool same_ids(const token_list *a, const token_list *b);
void print_ids(const char *label, const token_list *list);

/* The text's ids, which follow, are these. */
void expect_ids(const tokenizer *t, const char *text, unsigned flags, const uint32_t *wanted, uint64_t count);
#define EXPECT_IDS(t, text, flags, ...)                                                                                \
    do {                                                                                                               \
        const uint32_t wanted_ids[] = {__VA_ARGS__};                                                                   \
        expect_ids((t), (text), (flags), wanted_ids, sizeof wanted_ids / sizeof *wanted_ids);                          \
    } while (0)

#endif
