/*
 * chat_builtin.c - templates for folders that bring none: plain turns of system, user and assistant, in the format that
 * the vocabulary's control tokens belong to. Tools are refused rather than dropped.
 */
#include "text/chat_template.h"

#include "base/bytes.h"
#include "text/tokenizer_parts.h"

/* The text of a message, which may come in parts; and what no built-in template can say. */
#define COMMON                                                                                                         \
    "{%- if tools %}{{ raise_exception('the model has no chat template of its own, so it cannot be given tools') }}"   \
    "{% endif -%}"                                                                                                     \
    "{%- macro text_of(content) -%}{%- if content is string -%}{{ content }}{%- else -%}"                              \
    "{%- for part in content -%}{%- if part is mapping and part.text is string -%}{{ part.text }}{%- else -%}"         \
    "{{ raise_exception('only text can be shown to this model') }}{%- endif -%}{%- endfor -%}"                         \
    "{%- endif -%}{%- endmacro -%}"                                                                                    \
    "{%- macro check(role) -%}{%- if role not in ['system', 'user', 'assistant'] -%}"                                  \
    "{{ raise_exception('there is no role ' ~ role ~ '; known are system, user and assistant') }}"                     \
    "{%- endif -%}{%- endmacro -%}"

/* Earlier thoughts, <|channel> to <channel|>, are not shown to the model again. */
static const char gemma4_text[] =
    COMMON "{%- macro spoken(text) -%}{%- set kept = namespace(text='') -%}{%- for part in text.split('<channel|>') -%}"
           "{%- set kept.text = kept.text ~ part.split('<|channel>')[0] -%}{%- endfor -%}{{ kept.text | trim }}"
           "{%- endmacro -%}"
           "{{ '<bos>' }}{%- for message in messages -%}{{ check(message.role) }}"
           "{%- if message.role == 'assistant' -%}"
           "{{ '<|turn>model\\n' ~ spoken(text_of(message.content)) ~ '<turn|>\\n' }}"
           "{%- else -%}{{ '<|turn>' ~ message.role ~ '\\n' ~ (text_of(message.content) | trim) ~ '<turn|>\\n' }}"
           "{%- endif -%}{%- endfor -%}"
           "{%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}";

static const char chatml_text[] =
    COMMON "{%- for message in messages -%}{{ check(message.role) }}"
           "{{ '<|im_start|>' ~ message.role ~ '\\n' ~ text_of(message.content) ~ '<|im_end|>\\n' }}{%- endfor -%}"
           "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

static const char llama3_text[] =
    COMMON "{{ '<|begin_of_text|>' }}{%- for message in messages -%}{{ check(message.role) }}"
           "{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ (text_of(message.content) | trim) ~ "
           "'<|eot_id|>' }}{%- endfor -%}"
           "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}";

static const chat_builtin builtins[] = {
    {"gemma4", gemma4_text, "<bos>", {"<bos>", "<|turn>", "<turn|>", NULL}},
    {"chatml", chatml_text, NULL, {"<|im_start|>", "<|im_end|>", NULL}},
    {"llama3",
     llama3_text,
     "<|begin_of_text|>",
     {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", NULL}},
};

static bool carries(const tokenizer *t, const chat_builtin *builtin)
{
    uint32_t id;
    for (size_t i = 0; builtin->needed[i] != NULL; i++)
        if (!tokenizer_id_of(t, builtin->needed[i], &id) || (t->vocab.flags[id] & VOCABULARY_ADDED) == 0) return false;
    return true;
}

const chat_builtin *chat_builtin_find(const tokenizer *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(builtins); i++)
        if (carries(t, &builtins[i])) return &builtins[i];
    return NULL;
}
