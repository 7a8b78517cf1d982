/*
 * regex.c - PCRE2 behind the ledger. Its memory comes from the ledger's tokenizer pool, except for the machine code of
 * the JIT (a few kilobytes a pattern, which need pages of their own kind).
 */
#include "text/regex.h"

#include "text/regex_known.h"
#include "text/regex_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* The library's own limits hold for one match, and the machine code of the JIT does not count what a repeat of one
 * character does. */
enum { MATCH_LIMIT = 50 * 1000 * 1000, HEAP_LIMIT_KIB = 256 * 1024 };

struct regex {
    mem *ledger;
    const char *name;
    pcre2_general_context *memory;
    pcre2_code *code;
};

static void *take_memory(PCRE2_SIZE bytes, void *ledger)
{
    void *block;
    return mem_alloc(ledger, MEM_TOKENIZER, bytes, 1, 0, "regular expression", &block, NULL) == LEAT_OK ? block : NULL;
}

static void give_memory(void *block, void *ledger) { mem_free(ledger, block); }

static int guard_depth(uint32_t depth, void *unused)
{
    (void)unused;
    return depth > REGEX_DEPTH_MAX + 16;
}

static leat_status compile(regex *r, const text_buffer *translated, bool is_counted, leat_error *error)
{
    const uint32_t counting = is_counted ? PCRE2_AUTO_CALLOUT : 0;
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(r->memory);
    if (context == NULL) return FAIL(error, NO_MEMORY, "%s: no memory for a regular expression", r->name);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, REGEX_DEPTH_MAX + 16);
    pcre2_set_compile_recursion_guard(context, guard_depth, NULL);
    r->code = pcre2_compile((PCRE2_SPTR)(translated->count > 0 ? translated->bytes : ""), translated->count,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | counting, &code,
                            &offset, context);
    pcre2_compile_context_free(context);
    if (r->code == NULL) {
        char reason[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        if (code == PCRE2_ERROR_HEAP_FAILED)
            return FAIL(error, NO_MEMORY, "%s: no memory for a regular expression", r->name);
        return FAIL(error, MODEL, "%s: a regular expression does not compile: %s", r->name, reason);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the same matches are found more slowly */
    return LEAT_OK;
}

leat_status regex_open(mem *ledger, const char *name, const char *pattern, uint64_t bytes, regex **out_regex,
                       leat_error *error)
{
    regex *r;
    leat_status status;
    text_buffer translated;
    TRY(MEM_NEW(ledger, TOKENIZER, 1, &r, error));
    text_buffer_init(&translated, ledger);
    r->ledger = ledger;
    r->name = name;
    TRY_OR(out, regex_translate(name, pattern, bytes, &translated, error));
    r->memory = pcre2_general_context_create(take_memory, give_memory, ledger);
    if (r->memory == NULL) {
        status = FAIL(error, NO_MEMORY, "%s: no memory for a regular expression", name);
        goto out;
    }
    TRY_OR(out, compile(r, &translated, !regex_is_known(pattern, bytes), error));
    *out_regex = r;
    r = NULL;
out:
    regex_close(&r);
    text_buffer_reset(&translated);
    return status;
}

void regex_close(regex **r)
{
    if (*r == NULL) return;
    pcre2_code_free((*r)->code);
    pcre2_general_context_free((*r)->memory);
    mem_free((*r)->ledger, *r);
    *r = NULL;
}

void regex_scratch_reset(regex_scratch *scratch)
{
    pcre2_match_data_free(scratch->match_data);
    pcre2_match_context_free(scratch->context);
    *scratch = (regex_scratch){0};
}

/* Is called before each item of a pattern that is tried. */
static int count_step(pcre2_callout_block *block, void *user)
{
    regex_scratch *scratch = user;
    uint64_t at = block->current_position;
    scratch->steps += 1 + (at > scratch->position ? at - scratch->position : scratch->position - at);
    scratch->position = at;
    return scratch->steps > REGEX_STEPS_FREE + REGEX_STEPS_PER_BYTE * scratch->announced_bytes ? PCRE2_ERROR_CALLOUT
                                                                                               : 0;
}

static leat_status prepare(const regex *r, regex_scratch *scratch, leat_error *error)
{
    if (scratch->match_data != NULL && scratch->context != NULL) return LEAT_OK;
    if (scratch->match_data == NULL) scratch->match_data = pcre2_match_data_create(1, r->memory);
    scratch->context = pcre2_match_context_create(r->memory);
    if (scratch->match_data == NULL || scratch->context == NULL)
        return FAIL(error, NO_MEMORY, "%s: no memory to match a regular expression", r->name);
    pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    pcre2_set_heap_limit(scratch->context, HEAP_LIMIT_KIB);
    pcre2_set_callout(scratch->context, count_step, scratch);
    return LEAT_OK;
}

leat_status regex_find(const regex *r, regex_scratch *scratch, const char *text, uint64_t bytes, uint64_t from,
                       uint64_t *out_start, uint64_t *out_end, leat_error *error)
{
    TRY(prepare(r, scratch, error));
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    scratch->position = from;
    int result = pcre2_match(r->code, subject, bytes, from, PCRE2_NO_UTF_CHECK, scratch->match_data, scratch->context);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack in memory that the heap limit bounds */
        result = pcre2_match(r->code, subject, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match_data,
                             scratch->context);
    if (result == PCRE2_ERROR_NOMATCH) {
        *out_start = *out_end = UINT64_MAX;
        return LEAT_OK;
    }
    if (result == PCRE2_ERROR_NOMEMORY)
        return FAIL(error, NO_MEMORY, "%s: no memory to match a regular expression", r->name);
    if (result == PCRE2_ERROR_CALLOUT)
        return FAIL(error, MODEL,
                    "%s: a regular expression takes more than %llu steps on a text of %llu bytes: it does not suit "
                    "such texts",
                    r->name, (unsigned long long)(scratch->steps - 1), (unsigned long long)scratch->announced_bytes);
    if (result < 0) {
        char reason[128];
        pcre2_get_error_message(result, (PCRE2_UCHAR *)reason, sizeof reason);
        return FAIL(error, MODEL, "%s: a regular expression fails at byte %llu of a piece of text: %s", r->name,
                    (unsigned long long)from, reason);
    }
    const PCRE2_SIZE *vector = pcre2_get_ovector_pointer(scratch->match_data);
    *out_start = vector[0];
    *out_end = vector[1];
    return LEAT_OK;
}
