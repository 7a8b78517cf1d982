/*
 * conformance.h - the known-answer data that lies beside the source tree: $LEAT_CONFORMANCE, else ../shared/conformance
 * seen from the root of the source. Tests say so and skip when it is not there. Header only; the program defines
 * SOURCE_ROOT.
 */
#ifndef SUPPORT_CONFORMANCE_H
#define SUPPORT_CONFORMANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static inline const char *conformance_path(const char *below, char out[4096])
{
    const char *root = getenv("LEAT_CONFORMANCE");
    if (root != NULL)
        snprintf(out, 4096, "%s/%s", root, below);
    else
        snprintf(out, 4096, "%s/../shared/conformance/%s", SOURCE_ROOT, below);
    return out;
}

static inline bool conformance_has(const char *below)
{
    char path[4096];
    struct stat about;
    if (stat(conformance_path(below, path), &about) == 0) return true;
    printf("[  NOTE    ] no conformance data: %s does not exist (set LEAT_CONFORMANCE)\n", path);
    return false;
}

/* The whole file, terminated; NULL when it cannot be read. The caller frees it. */
static inline char *load_file(const char *path, uint64_t *out_bytes)
{
    struct stat about;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
        if (file != NULL) fclose(file);
        return NULL;
    }
    char *text = malloc((size_t)about.st_size + 1);
    *out_bytes = fread(text, 1, (size_t)about.st_size, file);
    text[*out_bytes] = '\0';
    fclose(file);
    return text;
}

static inline char *conformance_load(const char *below, uint64_t *out_bytes)
{
    char path[4096];
    return load_file(conformance_path(below, path), out_bytes);
}

/* Whether every '|'-separated word occurs in the text, without regard to case. */
static inline bool mentions_all(const char *text, const char *words)
{
    char word[512];
    for (const char *at = words; *at != '\0';) {
        size_t length = strcspn(at, "|");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (strcasestr(text, word) == NULL) {
            printf("[  NOTE    ] \"%s\" does not occur in: %s\n", word, text);
            return false;
        }
        at += length + (at[length] == '|');
    }
    return true;
}

#endif
