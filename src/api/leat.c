/*
 * leat.c - the parts of leat.h that belong to no handle: version, texts of statuses, the log, instruction sets.
 */
#include <leat/leat.h>

#include "api/commit.h"
#include "api/handles.h"
#include "base/log.h"

const char *leat_version(void) { return LEAT_VERSION; }
const char *leat_commit(void) { return LEAT_COMMIT; }
const char *leat_status_text(leat_status status) { return status_text(status); }
int leat_status_exit_code(leat_status status) { return status_exit_code(status); }

void leat_log_set(leat_log_sink *sink, void *user, leat_log_level highest)
{
    _Static_assert((int)LEAT_LOG_TRACE == (int)LOG_TRACE, "the public levels are the internal ones");
    log_set_sink((log_sink *)sink, user, (log_level)highest);
}

isa internal_isa(leat_isa level)
{
    switch (level) {
    case LEAT_ISA_SCALAR: return ISA_SCALAR;
    case LEAT_ISA_AVX2: return ISA_AVX2;
    case LEAT_ISA_AVX512: return ISA_AVX512;
    case LEAT_ISA_AUTO: break;
    }
    return kernel_isa_best();
}

bool leat_isa_is_usable(leat_isa level) { return kernel_isa_is_usable(internal_isa(level)); }
const char *leat_isa_label(leat_isa level) { return level == LEAT_ISA_AUTO ? "auto" : isa_label(internal_isa(level)); }
