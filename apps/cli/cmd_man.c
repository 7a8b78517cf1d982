/* cmd_man.c - leat man: prints a manual page. */
#include "cli.h"
#include "man.h"

#include "base/bytes.h"

#include <string.h>

leat_status cmd_man(cli *c, leat_error *error)
{
    static const struct {
        const char *word;
        void (*print)(output *out);
    } pages[] = {{"leat", man_leat}, {"serve", man_serve}, {"conf", man_conf}};
    const char *word = cli_take_word(c);
    TRY(cli_refuse_rest(c, error));
    for (size_t i = 0; i < ARRAY_COUNT(pages); i++) {
        if (strcmp(word ? word : "leat", pages[i].word) != 0) continue;
        pages[i].print(&c->out);
        return LEAT_OK;
    }
    leat_status status = FAIL(error, USAGE, "leat man: there is no page '%s'", word);
    status_hint(error, "usage: leat man [leat|serve|conf]");
    return status;
}
