/*
 * external_editor.h - a text handed to the user's own editor: $VISUAL, $EDITOR or vi, on a temporary file of its own.
 */
#ifndef CLI_EXTERNAL_EDITOR_H
#define CLI_EXTERNAL_EDITOR_H

#include "strbuf.h"

/* Replaces *text by what was saved, without the newline that editors add at the end. LEAT_USAGE when the editor fails
 * or the result is not text; *text is as before then. The terminal must not be raw. */
MUST_CHECK leat_status external_editor_run(strbuf *text, leat_error *error);

#endif
