#include "os/cgroup.h"

#include <string.h>
#include <unistd.h>

/* Is `word` one of the comma-separated words of `list`? */
static bool has_word(const char *list, const char *word)
{
    size_t word_bytes = strlen(word);
    for (const char *p = list;;) {
        size_t length = strcspn(p, ",");
        if (length == word_bytes && memcmp(p, word, length) == 0) return true;
        if (p[length] == '\0') return false;
        p += length + 1;
    }
}

/* mountinfo writes space, tab, newline and backslash in paths as three octal digits. */
static void decode_octal(char *text)
{
    char *out = text;
    for (const char *p = text; *p != '\0';) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' && p[3] <= '7') {
            *out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 4;
        } else {
            *out++ = *p++;
        }
    }
    *out = '\0';
}

/* `path`: of a file like /proc/self/cgroup. A line of it is "id:controllers:path"; v2 is "0::path". A controller named
 * by a v1 line is bound there, so that line wins over v2's. */
static bool find_group(const char *path, const char *controller, bool *out_v2, char out_group[OS_PATH_BYTES])
{
    text_lines lines;
    if (!text_lines_open(&lines, path)) return false;
    bool found = false;
    for (char *line; (line = text_lines_next(&lines)) != NULL;) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL || group[1] != '/') continue;
        *controllers++ = '\0';
        *group++ = '\0';
        bool is_v2 = strcmp(line, "0") == 0 && controllers[0] == '\0';
        if (!is_v2 && !has_word(controllers, controller)) continue;
        if (!path_format(out_group, "%s", group)) continue;
        *out_v2 = is_v2;
        found = true;
        if (!is_v2) break;
    }
    text_lines_close(&lines);
    return found;
}

typedef struct mount_line {
    char *mounted_part, *mount_point, *type, *super_options;
} mount_line;

/* "id parent major:minor ROOT MOUNT_POINT options [tags...] - TYPE source SUPER_OPTIONS" (proc_pid_mountinfo(5)) */
static bool split_mount_line(char *line, mount_line *out)
{
    char *dash = strstr(line, " - ");
    if (dash == NULL) return false;
    *dash = '\0';
    char *save = NULL;
    char *fields[5];
    char *cursor = line;
    for (int i = 0; i < 5; i++) {
        fields[i] = strtok_r(cursor, " ", &save);
        if (fields[i] == NULL) return false;
        cursor = NULL;
    }
    out->mounted_part = fields[3];
    out->mount_point = fields[4];
    out->type = strtok_r(dash + 3, " ", &save);
    const char *source = out->type == NULL ? NULL : strtok_r(NULL, " ", &save);
    out->super_options = source == NULL ? NULL : strtok_r(NULL, " ", &save);
    if (out->super_options == NULL) return false;
    decode_octal(out->mounted_part);
    decode_octal(out->mount_point);
    return true;
}

/* Where `mounted_part` of the hierarchy can be seen. */
static bool find_mount(const char *root, const char *controller, bool is_v2, char out_part[OS_PATH_BYTES],
                       char out_point[OS_PATH_BYTES])
{
    char path[OS_PATH_BYTES];
    text_lines lines;
    if (!path_format(path, "%s/proc/self/mountinfo", root) || !text_lines_open(&lines, path)) return false;
    bool found = false;
    for (char *line; !found && (line = text_lines_next(&lines)) != NULL;) {
        mount_line m;
        if (!split_mount_line(line, &m)) continue;
        if (is_v2 ? strcmp(m.type, "cgroup2") != 0
                  : strcmp(m.type, "cgroup") != 0 || !has_word(m.super_options, controller))
            continue;
        found = path_format(out_part, "%s", m.mounted_part) && path_format(out_point, "%s%s", root, m.mount_point);
    }
    text_lines_close(&lines);
    return found;
}

static bool guess_mount(const char *root, const char *controller, bool is_v2, char out_part[OS_PATH_BYTES],
                        char out_point[OS_PATH_BYTES])
{
    bool fits = is_v2 ? path_format(out_point, "%s/sys/fs/cgroup", root)
                      : path_format(out_point, "%s/sys/fs/cgroup/%s", root, controller);
    return fits && path_format(out_part, "/") && access(out_point, X_OK) == 0;
}

/* The group's path below the mounted part, with its leading slash; "" when it is that part or lies outside it. */
static const char *path_below(const char *group, const char *part)
{
    if (strstr(group, "/..") != NULL) return ""; /* outside this cgroup namespace */
    size_t part_bytes = strcmp(part, "/") == 0 ? 0 : strlen(part);
    if (strncmp(group, part, part_bytes) != 0 || (group[part_bytes] != '/' && group[part_bytes] != '\0')) return "";
    return strcmp(group + part_bytes, "/") == 0 ? "" : group + part_bytes;
}

static bool find_membership(const char *root, long pid, const char *controller, bool *out_v2,
                            char out_group[OS_PATH_BYTES])
{
    char path[OS_PATH_BYTES];
    const bool fits =
        pid == 0 ? path_format(path, "%s/proc/self/cgroup", root) : path_format(path, "%s/proc/%ld/cgroup", root, pid);
    return fits && find_group(path, controller, out_v2, out_group);
}

bool cgroup_membership(const char *root, long pid, const char *controller, char out_group[OS_PATH_BYTES])
{
    bool is_v2;
    return find_membership(root, pid, controller, &is_v2, out_group);
}

void cgroup_cut_membership(char *group, uint32_t up)
{
    for (; up > 0 && group[0] != '\0' && group[1] != '\0'; up--) {
        char *slash = strrchr(group, '/');
        slash[slash == group] = '\0'; /* the first one stays */
    }
}

bool cgroup_contains(const char *group, const char *member)
{
    if (strstr(member, "/..") != NULL) return false; /* outside this cgroup namespace */
    const size_t bytes = strcmp(group, "/") == 0 ? 0 : strlen(group);
    return strncmp(member, group, bytes) == 0 && (member[bytes] == '/' || member[bytes] == '\0');
}

bool cgroup_find(const char *root, const char *controller, cgroup_dir *out_dir)
{
    bool is_v2;
    char group[OS_PATH_BYTES], part[OS_PATH_BYTES], point[OS_PATH_BYTES];
    if (!find_membership(root, 0, controller, &is_v2, group)) return false;
    if (!find_mount(root, controller, is_v2, part, point) && !guess_mount(root, controller, is_v2, part, point))
        return false;
    out_dir->is_v2 = is_v2;
    out_dir->mount_bytes = strlen(point);
    if (!path_format(out_dir->path, "%s%s", point, path_below(group, part)) || access(out_dir->path, X_OK) != 0)
        return path_format(out_dir->path, "%s", point);
    return true;
}

bool cgroup_to_parent(cgroup_dir *dir)
{
    char *slash = strrchr(dir->path, '/');
    if (slash == NULL || (size_t)(slash - dir->path) < dir->mount_bytes) return false;
    *slash = '\0';
    return true;
}

bool cgroup_read_u64(const cgroup_dir *dir, const char *name, uint64_t *out_value)
{
    char path[OS_PATH_BYTES];
    return path_format(path, "%s/%s", dir->path, name) && read_u64_file(path, out_value);
}

bool cgroup_read_field(const cgroup_dir *dir, const char *name, const char *key, uint64_t *out_value)
{
    char path[OS_PATH_BYTES];
    return path_format(path, "%s/%s", dir->path, name) && read_u64_field(path, key, out_value);
}
