#include "temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void require(int is_ok, const char *what)
{
    if (is_ok) return;
    fprintf(stderr, "temp_folder: %s: %s\n", what, strerror(errno));
    abort();
}

const char *temp_folder_path(const temp_folder *t, const char *name)
{
    static char paths[64][TEMP_PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % 64];
    int length = snprintf(path, TEMP_PATH_BYTES, "%s/%s", t->path, name);
    require(length > 0 && length < TEMP_PATH_BYTES, "the path is too long");
    return path;
}

void temp_folder_open(temp_folder *t)
{
    const char *parent = getenv("TMPDIR");
    char made[TEMP_PATH_BYTES];
    int length = snprintf(made, sizeof made, "%s/leat-test-XXXXXX", parent && parent[0] ? parent : "/tmp");
    require(length > 0 && (size_t)length < sizeof made && mkdtemp(made) != NULL, "mkdtemp");
    require(realpath(made, t->path) != NULL, made);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void temp_folder_close(temp_folder *t)
{
    require(nftw(t->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, t->path);
    t->path[0] = 0;
}

void temp_folder_make(const temp_folder *t, const char *name)
{
    char path[TEMP_PATH_BYTES];
    snprintf(path, sizeof path, "%s", temp_folder_path(t, name));
    for (char *slash = path + strlen(t->path) + 1; *slash; slash++) {
        if (*slash != '/') continue;
        *slash = 0;
        require(mkdir(path, 0755) == 0 || errno == EEXIST, path);
        *slash = '/';
    }
    require(mkdir(path, 0755) == 0 || errno == EEXIST, path);
}

static void make_parent(const temp_folder *t, const char *name)
{
    char parent[TEMP_PATH_BYTES];
    snprintf(parent, sizeof parent, "%s", name);
    char *slash = strrchr(parent, '/');
    if (!slash) return;
    *slash = 0;
    temp_folder_make(t, parent);
}

void temp_folder_write(const temp_folder *t, const char *name, const void *bytes, size_t count)
{
    make_parent(t, name);
    const char *path = temp_folder_path(t, name);
    FILE *stream = fopen(path, "wb");
    require(stream != NULL, path);
    require(fwrite(bytes, 1, count, stream) == count, path);
    require(fclose(stream) == 0, path);
}

void temp_folder_write_text(const temp_folder *t, const char *name, const char *text)
{
    temp_folder_write(t, name, text, strlen(text));
}

void temp_folder_link(const temp_folder *t, const char *name, const char *target)
{
    make_parent(t, name);
    require(symlink(target, temp_folder_path(t, name)) == 0, name);
}

void temp_folder_fifo(const temp_folder *t, const char *name)
{
    make_parent(t, name);
    require(mkfifo(temp_folder_path(t, name), 0644) == 0, name);
}

void temp_folder_remove(const temp_folder *t, const char *name)
{
    require(remove(temp_folder_path(t, name)) == 0, name);
}

void temp_folder_copy(const temp_folder *t, const char *name, const char *source_path)
{
    FILE *stream = fopen(source_path, "rb");
    require(stream != NULL, source_path);
    require(fseek(stream, 0, SEEK_END) == 0, source_path);
    long count = ftell(stream);
    require(count >= 0 && fseek(stream, 0, SEEK_SET) == 0, source_path);
    char *bytes = malloc((size_t)count + 1);
    require(bytes != NULL, "memory");
    require(fread(bytes, 1, (size_t)count, stream) == (size_t)count, source_path);
    fclose(stream);
    temp_folder_write(t, name, bytes, (size_t)count);
    free(bytes);
}

void temp_folder_write_shard(const temp_folder *t, const char *name, const char *header, size_t header_bytes,
                             const void *data, size_t data_bytes)
{
    size_t text_bytes = strlen(header);
    if (header_bytes == 0) header_bytes = text_bytes;
    require(text_bytes <= header_bytes, "the header is longer than its room");
    uint8_t *bytes = malloc(8 + header_bytes + data_bytes);
    require(bytes != NULL, "memory");
    uint64_t length = header_bytes;
    memcpy(bytes, &length, 8);
    memset(bytes + 8, ' ', header_bytes);
    memcpy(bytes + 8, header, text_bytes);
    if (data_bytes > 0) memcpy(bytes + 8 + header_bytes, data, data_bytes);
    temp_folder_write(t, name, bytes, 8 + header_bytes + data_bytes);
    free(bytes);
}

const char *find_conformance(const char *source_root)
{
    static char path[TEMP_PATH_BYTES];
    const char *given = getenv("LEAT_CONFORMANCE");
    if (given && given[0])
        snprintf(path, sizeof path, "%s", given);
    else
        snprintf(path, sizeof path, "%s/../shared/conformance", source_root);
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return path;
    printf("[  NOTE    ] no conformance data: %s does not exist (set LEAT_CONFORMANCE)\n", path);
    return NULL;
}
