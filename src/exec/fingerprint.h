/* fingerprint.h - which model a checkpoint is, in 64 hexadecimal digits: configuration, and the types and shapes of the
 * weights that the model uses. How and in which files they are stored does not show (a pack has its source's
 * fingerprint), and their bytes are not read. */
#ifndef EXEC_FINGERPRINT_H
#define EXEC_FINGERPRINT_H

#include "exec/checkpoint.h"
#include "model/model_desc.h"

enum { FINGERPRINT_BYTES = 64 + 1 };

MUST_CHECK leat_status model_fingerprint(const checkpoint *c, const model_desc *model, char out[FINGERPRINT_BYTES],
                                         leat_error *error);

#endif
