#include "os/memory_pressure.h"

#include "base/bytes.h"
#include "os/memory_limit.h"

#include <stdlib.h>

void memory_pressure_init(memory_pressure_reader *reader, const char *root)
{
    reader->root = root;
    reader->has_group = cgroup_find(root, "memory", &reader->group);
}

/* "some avg10=0.12 avg60=.. total=..": the first of them. Files that are not there, or a kernel without PSI (which has
 * the file and refuses to read it), are no pressure. */
static double read_stall(const char *path)
{
    text_lines lines;
    double percent = 0;
    if (!text_lines_open(&lines, path)) return 0;
    for (const char *line; (line = text_lines_next(&lines)) != NULL;) {
        uint64_t whole, hundredths = 0;
        if (strncmp(line, "some avg10=", 11) != 0 || !parse_u64(line + 11, &whole)) continue;
        const char *point = strchr(line + 11, '.');
        if (point != NULL && !parse_u64(point + 1, &hundredths)) hundredths = 0;
        percent = (double)min_u64(whole, 100) + (double)min_u64(hundredths, 99) / 100;
        break;
    }
    text_lines_close(&lines);
    return percent;
}

static uint64_t count_hits(const cgroup_dir *group)
{
    uint64_t high = 0, max = 0;
    if (!group->is_v2) return cgroup_read_u64(group, "memory.failcnt", &max) ? max : 0;
    if (!cgroup_read_field(group, "memory.events", "high", &high)) high = 0;
    if (!cgroup_read_field(group, "memory.events", "max", &max)) max = 0;
    return high + max;
}

void memory_pressure_read(const memory_pressure_reader *reader, memory_pressure *out)
{
    char path[OS_PATH_BYTES];
    memory_limit limit = MEMORY_LIMIT_UNREAD;
    memory_limit_read_machine(reader->root, &limit);
    *out = (memory_pressure){.physical_bytes = limit.physical_bytes,
                             .available_bytes = limit.available_bytes > 0 ? limit.available_bytes : UINT64_MAX};
    if (path_format(path, "%s/proc/pressure/memory", reader->root)) out->some_avg10 = read_stall(path);
    if (reader->has_group) {
        memory_limit_read_groups(&reader->group, true, &limit);
        if (path_format(path, "%s/memory.pressure", reader->group.path)) {
            const double stall = read_stall(path);
            if (stall > out->some_avg10) out->some_avg10 = stall;
        }
        out->group_hit_count = count_hits(&reader->group);
    }
    out->group_limit_bytes = limit.cgroup_limit_bytes;
    out->group_free_bytes = limit.cgroup_free_bytes;
    out->group_up = limit.cgroup_up;
}
