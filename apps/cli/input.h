/*
 * input.h - where the text of a command comes from: a word, --prompt, --file, --tokens, standard input.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "cli.h"
#include "u32_list.h"

typedef struct input_rules {
    const char *word;     /* the plain word after MODEL, or NULL; "-" is standard input */
    bool word_is_file;    /* the word names a file rather than being the text */
    bool appends_stdin;   /* text and a pipe: both, with an empty line between them */
    bool refuses_empty;   /* a file or a pipe without a byte is a mistake */
    const char *expected; /* "a prompt": for the error when there is nothing */
} input_rules;

/* Replaces *out_text. LEAT_USAGE when there is no text, more than one, or too much. */
MUST_CHECK leat_status input_read(const cli *c, const input_rules *rules, strbuf *out_text, leat_error *error);
/* Texts up to this size become tokens within what every plan keeps for its tokenizer. */
enum { INPUT_SHORT_BYTES = 4096 };
/* LEAT_USAGE for what is not UTF-8; `name` begins the error. */
MUST_CHECK leat_status input_check_text(const char *name, const char *bytes, size_t count, leat_error *error);
/* LEAT_CONTEXT, with what to do about it. */
MUST_CHECK leat_status input_refuse_length(size_t token_count, uint32_t ctx, const leat_model_info *info,
                                           leat_error *error);
/* LEAT_USAGE for ids that the vocabulary does not hold. */
MUST_CHECK leat_status input_check_tokens(const u32_list *ids, uint32_t vocab_size, leat_error *error);
/* --tokens: the ids themselves, or @FILE. */
MUST_CHECK leat_status input_read_tokens(const cli *c, u32_list *out_ids, leat_error *error);
/* Appends a whole file; "-" is standard input. Without --max-prompt-bytes a verb's limit is its default. */
MUST_CHECK leat_status input_read_file(const cli *c, const char *path, strbuf *text, leat_error *error);

/* One line without its newline; false at the end of input. LEAT_CANCELLED after a signal. */
typedef struct line_reader {
    int fd;
    const char *name;
    strbuf pending;
    void (*idle)(void *user); /* about once a second while nothing comes; may be NULL */
    void *idle_user;
    bool is_at_end;
} line_reader;
/* The lines of --batch: of the file that `word` or --file names; standard input for neither and for "-". LEAT_USAGE for
 * a file that cannot be read, and for texts given in another way. `word` must outlive the reader. */
MUST_CHECK leat_status line_reader_open(const cli *c, const char *word, line_reader *out_reader, leat_error *error);
void line_reader_close(line_reader *reader);
MUST_CHECK leat_status line_reader_next(line_reader *reader, uint64_t bytes_max, strbuf *line, bool *out_has_line,
                                        leat_error *error);

#endif
