/*
 * vocabulary.h - token texts and their ids, both ways.
 *
 * All texts lie in one block, each terminated; per id there is a 32-bit offset and a byte of flags, and a hash table of
 * ids finds a text. A quarter of a million tokens cost about 6 MB.
 *
 * Threads: filled by one thread, constant afterwards.
 */
#ifndef TEXT_VOCABULARY_H
#define TEXT_VOCABULARY_H

#include "base/mem.h"

#include <stdbool.h>

enum {
    VOCABULARY_ID_LIMIT = 2 * 1024 * 1024,     /* ids are below it */
    VOCABULARY_TEXT_LIMIT = 512 * 1024 * 1024, /* bytes of all texts together */
    VOCABULARY_QUOTE_BYTES = 64,               /* of a token's text in a message */
};

#define VOCABULARY_NO_ID UINT32_MAX

enum vocabulary_flags {
    VOCABULARY_MODEL = 1,           /* belongs to the model's vocabulary: byte-pair encoding may make it */
    VOCABULARY_ADDED = 2,           /* an added token */
    VOCABULARY_SPECIAL = 4,         /* an added token that is left out of plain output */
    VOCABULARY_SHOWN_OTHERWISE = 8, /* an added token that decodes to its normalised content, which differs */
    VOCABULARY_CONTROL = 16,        /* a piece of SentencePiece that no text becomes and that decodes to nothing */
    VOCABULARY_BYTE = 32,           /* a piece <0xHH> */
    VOCABULARY_UNKNOWN = 64,        /* the piece of what is unknown */
    VOCABULARY_KEPT = 128,          /* a piece that is taken wherever its text occurs */
};

typedef struct vocabulary {
    mem *ledger;
    uint64_t seed; /* of the hashes; from the system, so that no file can be made to collide */
    char *texts;
    uint64_t text_bytes, text_capacity;
    uint32_t *offsets; /* (id_capacity) of the text; 0 = no such token */
    uint8_t *flags;    /* (id_capacity) */
    uint32_t id_count; /* one past the largest id */
    uint32_t id_capacity;
    uint32_t *slots;     /* (slot_count) id + 1, 0 = free */
    uint32_t slot_count; /* a power of two, at least twice token_count */
    uint32_t token_count;
} vocabulary;

/* A text cut for a message. */
typedef struct vocabulary_quote {
    char text[VOCABULARY_QUOTE_BYTES + 4];
} vocabulary_quote;

void vocabulary_init(vocabulary *v, mem *ledger);
void vocabulary_reset(vocabulary *v);

/* Copies a text without an owner; *out_offset names it until it is given to vocabulary_add. */
MUST_CHECK leat_status vocabulary_store(vocabulary *v, const char *text, size_t bytes, uint32_t *out_offset,
                                        leat_error *error);
/* Gives the stored text to a free id below VOCABULARY_ID_LIMIT. The text is not in the vocabulary yet. */
MUST_CHECK leat_status vocabulary_add(vocabulary *v, uint32_t offset, uint32_t id, uint8_t flags, leat_error *error);

/* The id of a text that has all of `flags`, or VOCABULARY_NO_ID. */
uint32_t vocabulary_find(const vocabulary *v, const char *text, size_t bytes, uint8_t flags);
/* The ids of <0x00> to <0xFF>, or VOCABULARY_NO_ID. */
void vocabulary_find_bytes(const vocabulary *v, uint8_t flags, uint32_t out_ids[256]);
static inline bool vocabulary_has(const vocabulary *v, uint32_t id) { return id < v->id_count && v->offsets[id] != 0; }
/* The terminated text of an id that the vocabulary has. */
static inline const char *vocabulary_text(const vocabulary *v, uint32_t id) { return v->texts + v->offsets[id]; }

/* At most VOCABULARY_QUOTE_BYTES of whole characters, and "..." where something was cut. */
vocabulary_quote vocabulary_cut(const char *text, size_t bytes);

#endif
