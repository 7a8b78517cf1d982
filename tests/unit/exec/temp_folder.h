/* temp_folder.h - folders for tests that need files, links and FIFOs, and the place of the known answers. */
#ifndef TESTS_TEMP_FOLDER_H
#define TESTS_TEMP_FOLDER_H

#include <stddef.h>
#include <stdint.h>

enum { TEMP_PATH_BYTES = 4096 };

typedef struct temp_folder {
    char path[TEMP_PATH_BYTES]; /* resolved */
} temp_folder;

/* These end the test when the system refuses. `name` is relative to the folder; folders on the way are made. */
void temp_folder_open(temp_folder *t);
void temp_folder_close(temp_folder *t);
void temp_folder_make(const temp_folder *t, const char *name);
void temp_folder_write(const temp_folder *t, const char *name, const void *bytes, size_t count);
void temp_folder_write_text(const temp_folder *t, const char *name, const char *text);
void temp_folder_link(const temp_folder *t, const char *name, const char *target);
void temp_folder_fifo(const temp_folder *t, const char *name);
void temp_folder_remove(const temp_folder *t, const char *name);
void temp_folder_copy(const temp_folder *t, const char *name, const char *source_path);
/* "FOLDER/NAME", valid for the next 60 calls or so, also of the functions above. */
const char *temp_folder_path(const temp_folder *t, const char *name);

/* A safetensors file: `header` is padded with spaces to a length of header_bytes (0: as it is). */
void temp_folder_write_shard(const temp_folder *t, const char *name, const char *header, size_t header_bytes,
                             const void *data, size_t data_bytes);

/* The folder of the known answers: $LEAT_CONFORMANCE, else ../shared/conformance seen from `source_root`. NULL when
 * there is none. */
const char *find_conformance(const char *source_root);

#endif
