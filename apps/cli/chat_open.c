#include "chat_open.h"

#include "input.h"

leat_status chat_open_template(const cli *c, const leat_tokenizer *tokenizer, leat_chat **out_chat, leat_error *error)
{
    strbuf text = {.ledger = c->ledger};
    if (!c->options.chat_template) return leat_chat_open(tokenizer, NULL, 0, out_chat, error);
    leat_status status = input_read_file(c, c->options.chat_template, &text, error);
    if (status == LEAT_OK) status = leat_chat_open(tokenizer, strbuf_text(&text), text.count, out_chat, error);
    strbuf_reset(&text);
    return status;
}
