/*
 * model_list.h - the models on this machine: those in the Hugging Face cache, and those below the folders of
 * $LEAT_MODELS (separated by colons; each a model itself or a folder of models). And from what the user typed to the
 * model that is meant.
 */
#ifndef CLI_MODEL_LIST_H
#define CLI_MODEL_LIST_H

#include "cli.h"

typedef struct model_entry {
    const char *name; /* ORG/REPO, or the folder's name */
    const char *path; /* for leat_model_open */
} model_entry;

typedef struct model_list {
    model_entry *items;
    uint32_t count, capacity;
} model_list;

/* Sorted by name. Lives in c->memory. Folders that cannot be read are passed over. */
MUST_CHECK leat_status model_list_read(cli *c, model_list *out_list, leat_error *error);

/* The MODEL of the command line, --model, the environment or the configuration: taken from the words where it is one.
 * A name that is no path is looked for in the list: a part of exactly one name will do. */
MUST_CHECK leat_status model_argument(cli *c, const char **out_path, leat_error *error);
/* leat_model_open, and the model's warnings on standard error. */
MUST_CHECK leat_status model_open(const char *path, leat_model **out_model, leat_error *error);
/* For verbs that take a MODEL and no more. */
MUST_CHECK leat_status model_open_only(cli *c, leat_model **out_model, leat_error *error);

#endif
