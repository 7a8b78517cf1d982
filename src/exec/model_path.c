/*
 * model_path.c - what the user typed becomes a folder.
 *
 * A path that exists wins over a repository of the same name. Otherwise ORG/REPO[@REV] is looked up in the Hugging Face
 * cache, whose layout docs/formats/huggingface-cache.md describes. Nothing is ever downloaded, and no weight file is
 * opened here.
 *
 * Threads: any thread, as long as nobody changes the environment meanwhile.
 */
#include "exec/model_path.h"

#include "os/file.h"
#include "os/hub_folder.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REPO_PART_BYTES_MAX = 96, /* of ORG and of REPO: the hub's own limit for both together */
    REVISION_BYTES_MAX = 200,
    COMMIT_DIGITS = 40,
    REF_BYTES_MAX = 64, /* a commit and perhaps a newline */
};

typedef struct repo_name {
    char org[REPO_PART_BYTES_MAX + 1], name[REPO_PART_BYTES_MAX + 1];
    char revision[REVISION_BYTES_MAX + 1]; /* "main" when none was given */
    bool has_revision;
} repo_name;

/* ---- names ---- */

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), suffix_length = strlen(suffix);
    return length > suffix_length && strcasecmp(text + length - suffix_length, suffix) == 0;
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

/* One component: no leading dot or dash (so neither "." nor ".." nor an option), and no "--", which the cache uses for
 * '/'. */
static bool is_repo_part(const char *text, size_t length)
{
    if (length == 0 || length > REPO_PART_BYTES_MAX || text[0] == '.' || text[0] == '-') return false;
    for (size_t i = 0; i < length; i++) {
        if (!is_name_byte(text[i])) return false;
        if (i > 0 && text[i] == text[i - 1] && (text[i] == '-' || text[i] == '.')) return false;
    }
    return true;
}

/* Components as above joined by '/': branches and "refs/pr/7" have several. */
static bool is_revision(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > REVISION_BYTES_MAX) return false;
    bool begins_component = true;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '/') {
            if (begins_component) return false;
            begins_component = true;
        } else {
            if (!is_name_byte(text[i])) return false;
            if (begins_component && (text[i] == '.' || text[i] == '-')) return false;
            begins_component = false;
        }
    }
    return !begins_component;
}

static bool is_commit(const char *text)
{
    return strlen(text) == COMMIT_DIGITS && strspn(text, "0123456789abcdef") == COMMIT_DIGITS;
}

/* ORG/REPO or ORG/REPO@anything; whether the revision is one is checked later, for a better message. */
static bool split_repo_name(const char *given, const char **out_revision, repo_name *out_repo)
{
    const char *slash = strchr(given, '/');
    if (!slash) return false;
    const char *at = strchr(slash, '@');
    const char *end = at ? at : given + strlen(given);
    size_t org_length = (size_t)(slash - given), name_length = (size_t)(end - slash - 1);
    if (!is_repo_part(given, org_length) || !is_repo_part(slash + 1, name_length)) return false;
    *out_repo = (repo_name){0};
    memcpy(out_repo->org, given, org_length);
    memcpy(out_repo->name, slash + 1, name_length);
    *out_revision = at ? at + 1 : NULL;
    return true;
}

/* false when the text does not fit. */
static bool PRINTF_LIKE(2, 3) format_path(char out[MODEL_PATH_BYTES], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out, MODEL_PATH_BYTES, format, arguments);
    va_end(arguments);
    return length >= 0 && length < MODEL_PATH_BYTES;
}

static leat_status fail_for_errno(const char *path, int os_errno, leat_error *error)
{
    if (os_errno == EACCES || os_errno == EPERM) {
        return FAIL_OS(error, PERMISSION, os_errno, "%s: may not be opened", path);
    }
    const char *reason = strerrordesc_np(os_errno);
    return FAIL_OS(error, MODEL, os_errno, "%s: cannot be opened: %s", path, reason ? reason : "unknown error");
}

/* ---- paths that exist ---- */

/* The resolved folder. A snapshot of the Hugging Face cache keeps its files as links to ../../blobs, so there the
 * repository's folder is the root. */
static leat_status use_folder(const char *folder, model_path *out_path, leat_error *error)
{
    model_path found = {.below = "."};
    if (!realpath(folder, found.root)) return fail_for_errno(folder, errno, error);

    char *commit = strrchr(found.root, '/');
    if (commit && commit > found.root && is_commit(commit + 1)) {
        static const char snapshots[] = "/snapshots";
        size_t above = (size_t)(commit - found.root);
        if (above > sizeof snapshots - 1 &&
            memcmp(commit - (sizeof snapshots - 1), snapshots, sizeof snapshots - 1) == 0) {
            char *repo_end = commit - (sizeof snapshots - 1);
            char *repo = memrchr(found.root, '/', (size_t)(repo_end - found.root));
            if (repo && strncmp(repo + 1, "models--", strlen("models--")) == 0) {
                snprintf(found.below, sizeof found.below, "%s", repo_end + 1);
                *repo_end = 0;
            }
        }
    }
    *out_path = found;
    return LEAT_OK;
}

static leat_status refuse_format(const char *given, leat_error *error)
{
    static const char *const pickles[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    if (ends_with(given, ".gguf")) {
        leat_status status =
            FAIL(error, MODEL, "%s: GGUF files are not supported yet; only folders with safetensors files are", given);
        status_hint(error, "use the model's safetensors or MLX version");
        return status;
    }
    for (size_t i = 0; i < sizeof pickles / sizeof pickles[0]; i++) {
        if (!ends_with(given, pickles[i])) continue;
        leat_status status = FAIL(
            error, MODEL,
            "%s: PyTorch pickle files can run code and are never opened; only safetensors files are supported", given);
        status_hint(
            error,
            "use the model's safetensors version, or convert it with save_pretrained(.., safe_serialization=True)");
        return status;
    }
    leat_status status = FAIL(error, MODEL, "%s: neither a folder nor a *.safetensors file", given);
    status_hint(error, "give the folder that holds config.json and the safetensors files");
    return status;
}

static leat_status use_existing(const char *given, const struct stat *info, model_path *out_path, leat_error *error)
{
    if (S_ISDIR(info->st_mode)) return use_folder(given, out_path, error);
    if (!S_ISREG(info->st_mode)) return FAIL(error, MODEL, "%s: neither a folder nor a regular file", given);
    if (!ends_with(given, ".safetensors")) return refuse_format(given, error);

    char folder[MODEL_PATH_BYTES];
    const char *slash = strrchr(given, '/');
    int length = slash ? (int)(slash - given) : 0;
    if (!slash) {
        snprintf(folder, sizeof folder, ".");
    } else {
        snprintf(folder, sizeof folder, "%.*s", length > 0 ? length : 1, given); /* "/x.safetensors" lies in "/" */
    }
    return use_folder(folder, out_path, error);
}

/* ---- the Hugging Face cache ---- */

static void hint_download(const repo_name *repo, leat_error *error)
{
    if (repo->has_revision) {
        status_hint(error, "hf download %s/%s --revision %s", repo->org, repo->name, repo->revision);
    } else {
        status_hint(error, "hf download %s/%s", repo->org, repo->name);
    }
}

static leat_status fail_absent(const repo_name *repo, const char *cache, leat_error *error)
{
    leat_status status =
        repo->has_revision
            ? FAIL(error, MODEL, "%s/%s@%s: no such folder, and no such revision in the Hugging Face cache (%s)",
                   repo->org, repo->name, repo->revision, cache)
            : FAIL(error, MODEL, "%s/%s: no such file or folder, and not in the Hugging Face cache (%s)", repo->org,
                   repo->name, cache);
    hint_download(repo, error);
    return status;
}

static leat_status fail_unfinished(const repo_name *repo, const char *root, leat_error *error)
{
    leat_status status = FAIL(error, MODEL, "%s/%s: download not finished (%s)", repo->org, repo->name, root);
    hint_download(repo, error);
    return status;
}

/* Whether blobs/ holds the beginning of a file whose whole is not there. A finished file may leave an older attempt
 * behind: that is none. */
static bool has_partial_blob(int repo_fd)
{
    DIR *blobs = file_list(repo_fd, "blobs");
    if (!blobs) return false;
    bool is_found = false;
    for (const struct dirent *entry; !is_found && (entry = readdir(blobs));) {
        if (!ends_with(entry->d_name, ".incomplete")) continue;
        char whole[sizeof entry->d_name];
        /* HASH[.ATTEMPT].incomplete */
        snprintf(whole, sizeof whole, "%.*s", (int)strcspn(entry->d_name, "."), entry->d_name);
        struct stat info;
        is_found = fstatat(dirfd(blobs), whole, &info, AT_SYMLINK_NOFOLLOW) != 0;
    }
    closedir(blobs);
    return is_found;
}

/* The N of NAME-00001-of-N.safetensors, 0 for other names. */
static unsigned long parse_shard_total(const char *name)
{
    const char *of = strstr(name, "-of-");
    if (!of || of[4] < '0' || of[4] > '9') return 0;
    char *end;
    unsigned long total = strtoul(of + 4, &end, 10);
    return strcmp(end, ".safetensors") == 0 ? total : 0;
}

/* Links appear in a snapshot one by one as files are finished. Whole here means: config.json and, judged by the names
 * alone, every shard. */
static bool is_snapshot_whole(int repo_fd, const char *snapshot)
{
    DIR *listing = file_list(repo_fd, snapshot);
    if (!listing) return false;
    bool has_config = false, has_single = false;
    unsigned long shard_count = 0, shard_total = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        unsigned long total = parse_shard_total(entry->d_name);
        if (strcmp(entry->d_name, "config.json") == 0) has_config = true;
        if (strcmp(entry->d_name, "model.safetensors") == 0) has_single = true;
        if (total > 0) {
            shard_count++;
            if (total > shard_total) shard_total = total;
        }
    }
    closedir(listing);
    return has_config && (has_single || (shard_total > 0 && shard_count >= shard_total));
}

/* The commit that refs/REVISION holds. *out_is_absent instead when there is no such file. */
static leat_status read_ref(int repo_fd, const repo_name *repo, char out_commit[COMMIT_DIGITS + 1], bool *out_is_absent,
                            leat_error *error)
{
    char name[REVISION_BYTES_MAX + 8];
    snprintf(name, sizeof name, "refs/%s", repo->revision);
    struct stat info;
    *out_is_absent = fstatat(repo_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 && (errno == ENOENT || errno == ENOTDIR);
    if (*out_is_absent) return LEAT_OK;

    leat_status status = LEAT_OK;
    file ref = {.fd = -1};
    char text[REF_BYTES_MAX + 1] = "";
    TRY(file_open(repo_fd, name, true, FILE_BUFFERED, &ref, error));
    if (ref.bytes <= REF_BYTES_MAX) status = file_read(&ref, name, 0, text, ref.bytes, NULL, error);
    file_close(&ref);
    TRY(status);

    text[strcspn(text, " \t\r\n")] = 0;
    if (!is_commit(text)) {
        status =
            FAIL(error, MODEL, "%s/%s: %s in the Hugging Face cache does not hold a commit of 40 hexadecimal digits",
                 repo->org, repo->name, name);
        hint_download(repo, error);
        return status;
    }
    memcpy(out_commit, text, COMMIT_DIGITS + 1);
    return LEAT_OK;
}

/* `repo_fd` is the open folder `root`. */
static leat_status find_snapshot(const repo_name *repo, const char *cache, const char *root, int repo_fd,
                                 char out_below[MODEL_PATH_BYTES], leat_error *error)
{
    char commit[COMMIT_DIGITS + 1];
    if (is_commit(repo->revision)) {
        memcpy(commit, repo->revision, sizeof commit);
    } else {
        bool is_absent;
        TRY(read_ref(repo_fd, repo, commit, &is_absent, error));
        if (is_absent) {
            return has_partial_blob(repo_fd) ? fail_unfinished(repo, root, error) : fail_absent(repo, cache, error);
        }
    }

    char below[MODEL_PATH_BYTES];
    snprintf(below, sizeof below, "snapshots/%s", commit);
    struct stat info;
    if (fstatat(repo_fd, below, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) return fail_for_errno(below, errno, error);
        /* A reference is written first, so its snapshot must follow; a commit that the user names may never have been
         * asked for. */
        bool was_asked_for = !is_commit(repo->revision) || has_partial_blob(repo_fd);
        return was_asked_for ? fail_unfinished(repo, root, error) : fail_absent(repo, cache, error);
    }
    if (!S_ISDIR(info.st_mode)) return FAIL(error, MODEL, "%s/%s: %s is no folder", repo->org, repo->name, below);
    if (!is_snapshot_whole(repo_fd, below) && has_partial_blob(repo_fd)) return fail_unfinished(repo, root, error);
    memcpy(out_below, below, sizeof below);
    return LEAT_OK;
}

static leat_status use_cached_repo(const repo_name *repo, model_path *out_path, leat_error *error)
{
    char cache[HUB_FOLDER_BYTES], folder[MODEL_PATH_BYTES];
    TRY(hub_folder_find(cache, error));
    if (!format_path(folder, "%s/models--%s--%s", cache, repo->org, repo->name)) {
        return FAIL(error, MODEL, "%s/%s: the path of the Hugging Face cache is too long", repo->org, repo->name);
    }
    model_path found = {0};
    if (!realpath(folder, found.root)) {
        if (errno == ENOENT || errno == ENOTDIR) return fail_absent(repo, cache, error);
        return fail_for_errno(folder, errno, error);
    }
    int repo_fd = open(found.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (repo_fd < 0) return fail_for_errno(found.root, errno, error);
    leat_status status = find_snapshot(repo, cache, found.root, repo_fd, found.below, error);
    close(repo_fd);
    TRY(status);
    *out_path = found;
    return LEAT_OK;
}

leat_status model_path_resolve(const char *given, model_path *out_path, leat_error *error)
{
    assert(given && out_path);
    if (!given[0]) return FAIL(error, MODEL, "the model's path is empty");
    if (strlen(given) >= MODEL_PATH_BYTES) {
        return FAIL(error, MODEL, "the model's path has %zu bytes; at most %d are possible", strlen(given),
                    MODEL_PATH_BYTES - 1);
    }

    struct stat info;
    if (stat(given, &info) == 0) return use_existing(given, &info, out_path, error);
    if (errno != ENOENT && errno != ENOTDIR) return fail_for_errno(given, errno, error);

    repo_name repo;
    const char *revision;
    bool looks_like_file = ends_with(given, ".safetensors") || ends_with(given, ".gguf");
    if (looks_like_file || !split_repo_name(given, &revision, &repo)) {
        leat_status status = FAIL(error, MODEL, "%s: no such file or folder", given);
        status_hint(
            error,
            "give a folder that holds config.json and safetensors files, or ORG/REPO[@REV] of the Hugging Face cache");
        return status;
    }
    repo.has_revision = revision != NULL;
    if (!revision) revision = "main";
    if (!is_revision(revision)) {
        return FAIL(error, MODEL,
                    "%s: '%s' cannot be a revision (a branch, a tag or a commit of 40 hexadecimal digits)", given,
                    revision);
    }
    snprintf(repo.revision, sizeof repo.revision, "%s", revision);
    return use_cached_repo(&repo, out_path, error);
}
