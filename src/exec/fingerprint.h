/* fingerprint.h - which model a checkpoint is, in 64 hexadecimal digits: configuration, names, types and shapes. Where
 * the tensors lie in which file does not show, and their bytes are not read. */
#ifndef EXEC_FINGERPRINT_H
#define EXEC_FINGERPRINT_H

#include "exec/checkpoint.h"

enum { FINGERPRINT_BYTES = 64 + 1 };

MUST_CHECK leat_status checkpoint_fingerprint(const checkpoint *c, char out[FINGERPRINT_BYTES], leat_error *error);

#endif
