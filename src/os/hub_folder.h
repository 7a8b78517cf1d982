/*
 * hub_folder.h - where the Hugging Face cache of this user lies, as the environment says
 * (docs/formats/huggingface-cache.md).
 *
 * Threads: any, as long as nobody changes the environment meanwhile.
 */
#ifndef OS_HUB_FOLDER_H
#define OS_HUB_FOLDER_H

#include "base/status.h"

enum { HUB_FOLDER_BYTES = 4096 };

/* The folder need not be there. LEAT_MODEL: no variable says where it would be, or one is too long. */
MUST_CHECK leat_status hub_folder_find(char out_folder[HUB_FOLDER_BYTES], leat_error *error);

#endif
