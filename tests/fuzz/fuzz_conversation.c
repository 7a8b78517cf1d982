/*
 * fuzz_conversation.c - any bytes as a conversation that /save kept. What must hold: a refusal is the user's and says
 * why, what was read and is written again is read as the same, and all memory comes back.
 */
#include "fuzz/fuzz.h"

#include "cli/conversation_file.h"

#include <string.h>

const char *const fuzz_words[] = {
    "\"schema\": \"leat.chat/1\"",
    "\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]",
    "{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"Hm\"}",
    "\"tool_calls\": [{\"id\": \"a\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"x\": "
    "1}}}]",
    "\"settings\": {\"temp\": \"0\", \"stop\": [\"a\", \"b\"]}",
    "\"model\": {\"name\": \"m\", \"fingerprint\": \"f\"}",
    "\"tools\": [{}]",
    "\"seed\": 7",
    "\"system\": \"x\"",
    "null",
    "\\u0000",
    "\\ud83d",
    "[[[[",
    "{",
    "}",
    ",",
    NULL,
};

/* false when it is refused. */
static bool rewrite(mem *ledger, const char *text, size_t count, strbuf *out)
{
    kept_conversation kept;
    leat_error error = {0};
    kept_conversation_init(&kept, ledger);
    leat_status status = conversation_read("x", text, count, &kept, &error);
    FUZZ_CHECK(status == LEAT_OK || status == LEAT_USAGE || status == LEAT_BUDGET);
    FUZZ_CHECK(status == LEAT_OK || (error.status == status && error.text[0] != '\0'));
    if (status == LEAT_OK) FUZZ_CHECK(conversation_document(&kept, out, &error) == LEAT_OK);
    kept_conversation_reset(&kept);
    return status == LEAT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    mem *ledger = NULL;
    if (mem_open(64 << 20, &ledger, NULL) != LEAT_OK) return 0;
    strbuf first = {.ledger = ledger}, second = {.ledger = ledger};
    if (rewrite(ledger, (const char *)bytes, count, &first)) {
        FUZZ_CHECK(rewrite(ledger, first.bytes, first.count, &second));
        FUZZ_CHECK(first.count == second.count && memcmp(first.bytes, second.bytes, first.count) == 0);
    }
    strbuf_reset(&first);
    strbuf_reset(&second);
    FUZZ_CHECK(mem_total_usage(ledger).current_bytes == 0);
    mem_close(&ledger);
    return 0;
}
