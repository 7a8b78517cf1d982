/*
 * man.h - manual pages in roff (man macros): the table of options, and the words that it does not hold.
 *
 * man_leat, man_serve and man_conf each print one page; the others are what pages are made of. All text goes through
 * man_text, which escapes it.
 */
#ifndef CLI_MAN_H
#define CLI_MAN_H

#include "options.h"
#include "output.h"

void man_leat(output *out);  /* leat(1) */
void man_serve(output *out); /* leat-serve(1) */
void man_conf(output *out);  /* leat.conf(5) */

/* "LEAT-SERVE", "1", "User Commands" */
void man_begin(output *out, const char *title, const char *section, const char *manual);
void man_text(output *out, const char *text);
void man_section(output *out, const char *title);
/* The first paragraph of a section, and a further one. */
void man_lead(output *out, const char *text);
void man_paragraph(output *out, const char *text);
/* A term and what it means. */
void man_item(output *out, const char *term, const char *text);
/* Lines that are shown as they stand. */
void man_verbatim(output *out, const char *text);
/* The options of `verbs` (bits 1 << verb_id) in their groups, but those of `without`. with_verbs: says whose they are.
 */
void man_options(output *out, uint32_t verbs, uint32_t without, bool with_verbs);
void man_exit_code(output *out, const char *code);
/* Names of the verbs that take the option, after `before`. */
void man_verbs_of(output *out, const option_spec *spec, const char *before);
/* The examples of one verb, or of all (VERB_COUNT). */
void man_examples(output *out, uint32_t verb);

#endif
