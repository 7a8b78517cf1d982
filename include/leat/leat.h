/*
 * leat.h - run language models larger than the machine's memory, inside a memory budget.
 *
 * The mental model:
 *
 *   model    a checkpoint on disk: its configuration and its table of tensors. Opening one reads headers only.
 *   plan     how a budget would be spent on a model: solved before any weight is read.
 *   engine   a model with a plan, its resident weights, caches and threads.
 *   session  one timeline of tokens with its keys and values. The caller states the tokens it wants
 *            (leat_session_sync); the engine reuses what it already has and computes the rest.
 *   sampler  picks the next token from a session's logits.
 *
 * Promises: the memory of the process stays within the budget plus a small constant; the same tokens, seed and settings
 * give the same output at every budget, thread count, chunk size, I/O mode and instruction set.
 *
 * Errors: every fallible call returns a leat_status and fills `error` (which may be NULL) with a text for people.
 * LEAT_USAGE: an argument is out of range. LEAT_MODEL: the files are missing, damaged or not supported. LEAT_BUDGET:
 * the memory budget has no room. LEAT_NO_MEMORY, LEAT_IO, LEAT_PERMISSION: the system refused. LEAT_CANCELLED: the
 * cancel flag was set. Below only what is particular to a call is named. Outputs come last and are written on success
 * only, unless the call says otherwise. Pointers that are not said to take NULL must not be NULL.
 *
 * Lifetimes: close functions take a pointer to the handle, accept NULL handles and set it to NULL. Close in reverse:
 * streams and sessions before their tokenizer and engine, engines before their model. A sampler depends on nothing.
 *
 * Threads: a model is constant once it is open and may be shared. Different engines are independent. One engine, its
 * session and its callbacks belong to one thread at a time; leat_engine_get_stats and the cancel flag (also from a
 * signal handler) are for any thread. A tokenizer may be shared; streams and samplers belong to one thread at a time.
 * Callbacks run on the calling thread and must not call into the object that calls them.
 *
 * Sizes are bytes, times nanoseconds, counts plain numbers. Text is UTF-8.
 */
#ifndef LEAT_LEAT_H
#define LEAT_LEAT_H

#include <leat/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LEAT_API __attribute__((visibility("default")))
#else
#define LEAT_API
#endif

/* ---- version and messages ---------------------------------------------------------------------------------------- */

/* "0.1.0" */
LEAT_API const char *leat_version(void);
/* The commit that it was built from, with "-dirty" behind it where files had been changed: "90c3d36ad1b2"; "unknown"
 * when it was not built in a clone. */
LEAT_API const char *leat_commit(void);
/* A few words for a status ("a read or write failed"), and the exit code that a program should end with. Static text.
 * */
LEAT_API const char *leat_status_text(leat_status status);
LEAT_API int leat_status_exit_code(leat_status status);

typedef enum leat_log_level {
    LEAT_LOG_ERROR,
    LEAT_LOG_WARN,
    LEAT_LOG_INFO,
    LEAT_LOG_DEBUG,
    LEAT_LOG_TRACE
} leat_log_level;
typedef void leat_log_sink(void *user, leat_log_level level, const char *line);
/* Process-wide; call it before other leat functions. `sink` gets one line of text, without a newline, for each message
 * up to `highest`; it may be called from any thread. NULL (the default) drops all messages. */
LEAT_API void leat_log_set(leat_log_sink *sink, void *user, leat_log_level highest);

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

typedef enum leat_isa { LEAT_ISA_AUTO, LEAT_ISA_SCALAR, LEAT_ISA_AVX2, LEAT_ISA_AVX512 } leat_isa;
/* It is built in, and CPU and system support it. AUTO always is: the highest usable one. The results are the same with
 * each. */
LEAT_API bool leat_isa_is_usable(leat_isa isa);
/* "auto", "scalar", "avx2", "avx512". */
LEAT_API const char *leat_isa_label(leat_isa isa);

/* ---- model ------------------------------------------------------------------------------------------------------- */

typedef struct leat_model leat_model;

/* `path`: a folder, a *.safetensors file (then its folder is meant), or ORG/REPO[@REV] in the Hugging Face cache. Reads
 * headers and configuration only and checks that every tensor that the architecture needs is there with the right
 * shape; LEAT_MODEL otherwise, naming the file, the tensor and what was expected. The files stay open until close. */
LEAT_API leat_status leat_model_open(const char *path, leat_model **out_model, leat_error *error);
LEAT_API void leat_model_close(leat_model **model);

typedef struct leat_model_info {
    const char *path;                /* as resolved */
    const char *architecture;        /* "gemma4", "llama", "qwen3", "qwen3_moe" */
    const char *model_type;          /* config.json's */
    uint64_t parameter_count;        /* elements of the text model's weights, norms included */
    uint64_t weight_bytes;           /* of the text model, as stored */
    uint64_t trunk_bytes;            /* of that: always resident */
    uint64_t expert_bytes;           /* of that: routed experts, streamed */
    uint64_t on_demand_bytes;        /* of that: embedding tables whose rows are read when needed */
    uint64_t ignored_bytes;          /* tensors in the files that the text model does not use */
    uint64_t active_parameter_count; /* matrices' elements at work for a token: chosen experts, one row of a table */
    uint32_t file_count, tensor_count;
    uint32_t layer_count, hidden_size, vocab_size;
    uint32_t head_count, kv_head_count, head_dim;              /* of the sliding layers where kinds differ */
    uint32_t context_max;                                      /* max_position_embeddings */
    uint32_t window;                                           /* of the sliding layers; 0 when there are none */
    uint32_t expert_count, expert_used_count, moe_layer_count; /* 0 for dense models */
    uint64_t expert_record_bytes;                              /* one expert of one layer (the largest) */
    bool head_is_tied;
    bool has_tokenizer;        /* tokenizer.json, tokenizer.model or tiktoken.model lies beside the weights */
    const char *chat_template; /* where the chat template stands: "chat_template.jinja", "tokenizer_config.json",
                                  "chat_template.json"; NULL when the folder has none */
    const char *chat_format;   /* what that looks like: "gemma4", "gemma", "chatml", "llama3", "mistral", "harmony",
                                  "deepseek", "glm", "kimi", "minimax", "cohere", "granite", "phi", "other"; "none" */
    const uint32_t *stop_ids;  /* (stop_id_count) of config.json and generation_config.json */
    uint32_t stop_id_count;
    uint32_t bos_id;      /* UINT32_MAX when there is none */
    char fingerprint[65]; /* 64 hexadecimal digits of config.json and the types and shapes of the weights; equal for
                             the same model in other files, packed ones too */
} leat_model_info;
/* Lives as long as the model. */
LEAT_API const leat_model_info *leat_model_get_info(const leat_model *model);

/* One weight matrix (or stack of experts) as found. */
typedef struct leat_weight_info {
    const char *name;
    const char *type;         /* "affine4", "bf16", ... */
    uint32_t group;           /* columns that share a scale; 0 without groups */
    uint32_t stack_count;     /* 1, or the number of experts */
    uint64_t rows, cols;      /* of one matrix: outputs, inputs */
    uint64_t bytes;           /* of the whole stack, as stored */
    const char *place;        /* "resident", "streamed" or "on demand" */
    bool differs_from_config; /* config.json's quantisation says otherwise; the shapes won */
} leat_weight_info;
/* idx < leat_model_weight_count. The texts live as long as the model. */
LEAT_API uint32_t leat_model_weight_count(const leat_model *model);
LEAT_API leat_weight_info leat_model_weight(const leat_model *model, uint32_t idx);
/* What was noticed while opening (a stale index, hints that differ); one line each. idx < leat_model_warning_count. */
LEAT_API uint32_t leat_model_warning_count(const leat_model *model);
LEAT_API const char *leat_model_warning(const leat_model *model, uint32_t idx);

/* How far a long call is: 0 <= done <= total. `phase` is one of the words that the calls below name. */
typedef void leat_progress_fn(void *user, const char *phase, uint64_t done, uint64_t total);
/* Reads every byte of every weight file; verifies the checksums that a Hugging Face cache's blob names carry (there
 * also of the other files) and those of a pack, and that no scale and no float tensor holds a NaN or an infinity.
 * LEAT_MODEL names file or tensor, and where. progress (phase "check", bytes), cancel (polled between blocks) and
 * out_checked_bytes may be NULL. */
LEAT_API leat_status leat_model_check(const leat_model *model, leat_progress_fn *progress, void *user,
                                      const volatile int *cancel, uint64_t *out_checked_bytes, leat_error *error);

typedef struct leat_pack_result {
    uint64_t bytes;         /* of the weight files written */
    uint64_t kept_bytes;    /* of that: finished by an earlier call that was stopped */
    uint64_t padding_bytes; /* of that: between records */
    uint64_t record_count;  /* experts, each of which is now one read */
    uint32_t file_count;
} leat_pack_result;
/* Writes the model into a new folder in which every expert's weights lie side by side, so that an expert is one read:
 * safetensors files with one tensor per expert, configuration, tokenizer, checksums for leat_model_check. Everything is
 * compared with the source before the folder gets its name; until then it is called FOLDER.unfinished, and a call that
 * was stopped goes on there. LEAT_USAGE: the folder exists; LEAT_MODEL: the model has no experts; LEAT_IO: writing
 * failed. progress (phases "pack" and "compare", bytes), cancel (polled between blocks) and out_result may be NULL. */
LEAT_API leat_status leat_model_pack(const leat_model *model, const char *folder, leat_progress_fn *progress,
                                     void *user, const volatile int *cancel, leat_pack_result *out_result,
                                     leat_error *error);

/* ---- plan -------------------------------------------------------------------------------------------------------- */

typedef enum leat_io_mode { LEAT_IO_AUTO, LEAT_IO_DIRECT, LEAT_IO_BUFFERED } leat_io_mode;
typedef enum leat_io_engine { LEAT_IO_ENGINE_AUTO, LEAT_IO_ENGINE_THREADS, LEAT_IO_ENGINE_URING } leat_io_engine;

/* Which expert goes when its layer needs room. AUTO: what is best on recorded routing. */
typedef enum leat_cache_policy {
    LEAT_CACHE_AUTO,
    LEAT_CACHE_LRU,
    LEAT_CACHE_LFU,
    LEAT_CACHE_SLRU,
    LEAT_CACHE_S3FIFO
} leat_cache_policy;
/* "auto", "lru", "lfu", "slru", "s3fifo" */
LEAT_API const char *leat_cache_policy_label(leat_cache_policy policy);

/* Whether experts that the next layer will probably ask for are read before it does. AUTO: as far as it pays, which is
 * measured all the time; ON: whatever it costs, for tests. The text is the same. */
typedef enum leat_look_ahead { LEAT_LOOK_AHEAD_AUTO, LEAT_LOOK_AHEAD_OFF, LEAT_LOOK_AHEAD_ON } leat_look_ahead;

typedef struct leat_options {
    uint64_t ram_bytes;         /* the budget; 0: auto (4/5 of what is free, at most what the model can use) */
    double ram_fraction;        /* 0, or up to 1: this part of the machine's (the cgroup's) memory instead */
    uint32_t ctx;               /* positions that a session can hold; 0: auto (4096, or the model's maximum) */
    uint32_t thread_count;      /* the caller's included, at most 256; 0: all usable CPUs */
    uint32_t prefill_chunk;     /* most tokens a step, cut to ctx; 0: auto (16 to 512, as the budget allows) */
    leat_isa isa;               /* AUTO: the highest usable */
    leat_io_mode io;            /* AUTO, for each file: direct where the file system can, unless the profile folder
                                   holds figures of its drive by which buffered reads are clearly faster; what is not
                                   direct is dropped from the page cache again. DIRECT: LEAT_IO where it cannot.
                                   BUFFERED: the page cache keeps what it likes, beside the budget */
    leat_io_engine io_engine;   /* AUTO and URING: threads where the system has no io_uring */
    bool force;                 /* accept a budget above what the machine has */
    const volatile int *cancel; /* polled between layers, experts and reads of weights that stay: when it is not zero,
                                   the running call ends with LEAT_CANCELLED; may be NULL */
    leat_progress_fn *progress; /* phases "load" (bytes) and "prefill" (tokens); may be NULL. "load" begins
                                   while the engine is opened and goes on, from the calls of its session that
                                   wait for weights which stay, until those have all been read */
    void *progress_user;
    leat_cache_policy cache_policy;
    leat_look_ahead look_ahead;
    bool warm_start; /* with a profile: from opening to the first step what runs used most is read into the expert cache
                      */
    bool ignore_pressure; /* the expert cache keeps its size, however scarce memory becomes while the engine computes */
    bool ignore_leases;   /* memory is not divided with this user's other processes: an automatic budget takes no notice
                             of them, and they take none of this engine */
    const char *profile_folder; /* an existing folder for what runs learn about models and drives: read for forecasts
                                   and for AUTO's policy and way of reading, written by leat_engine_close when at
                                   least 16 tokens were decoded (which takes half a second more where a drive is not
                                   known yet and io is AUTO); NULL: nothing is read or kept. Borrowed like cancel */
    bool profile_is_read_only;  /* what this engine learns is dropped: its tokens are not what the model is used for */
    uint64_t chat_template_bytes; /* size of a chat template that leat_chat_open will be given for this engine, so that
                                     the plan has room for it; 0: the folder's own */
} leat_options;                   /* cancel and progress are borrowed by the engine until it is closed */

/* All zero: everything automatic. */
LEAT_API leat_options leat_options_default(void);

/* The parts, trunk_bytes to unspent_bytes, sum to budget_bytes. */
typedef struct leat_plan {
    uint64_t budget_bytes;
    uint64_t floor_bytes;   /* the least budget for this ctx, thread count and chunk (auto: the least) */
    uint64_t trunk_bytes;   /* weights that stay in memory */
    uint64_t kv_bytes;      /* keys and values of ctx positions; the session */
    uint64_t scratch_bytes; /* working memory of a step */
    uint64_t io_bytes;      /* reader threads and buffers */
    uint64_t tokenizer_bytes;
    uint64_t process_bytes; /* code and C library, the model's tables, thread stacks, a sampler */
    uint64_t expert_cache_bytes;
    uint64_t unspent_bytes;        /* nothing left to spend it on */
    uint32_t streamed_layer_count; /* layers whose weights are not kept */
    bool head_is_streamed;
    uint64_t streamed_bytes;   /* of weights that every token needs and the budget does not keep: read for each step */
    uint64_t everything_bytes; /* the budget from which on all weights are resident */
    uint32_t ctx, thread_count, prefill_chunk;
    uint32_t expert_slot_count, expert_slot_max; /* records that fit, and records that there are */
    uint64_t expert_slot_bytes;                  /* of the largest slots */
    uint32_t expert_class_count; /* sizes of slots: more than 1 where layers keep experts of different sizes, and there
                                    is room for a set of each layer */
    uint32_t expert_set_max;     /* most experts that a layer asks for at once */
    leat_cache_policy cache_policy;                        /* AUTO resolved */
    uint32_t direct_file_count, buffered_file_count;       /* weight files by the way that they are read */
    bool io_is_measured;                                   /* their drives were measured both ways, and that decided */
    uint64_t physical_bytes, limit_bytes, available_bytes; /* of the machine; limit: the cgroup's or physical */
    uint64_t free_bytes; /* the least that machine and cgroups have free, page cache taken for free, less what other
                            processes have leased and not touched; with what this process holds */
    bool would_page;     /* the budget is more than that: the system would have to page */
} leat_plan;

/* Reads no weight. LEAT_BUDGET below the floor: error->text names floor and parts, the hint the largest ctx that fits,
 * and *out_plan is written all the same (expert cache and unspent are 0). LEAT_BUDGET also for a budget above what the
 * machine or its cgroup has, without `force`. LEAT_USAGE: ctx above the model's, more than 256 threads, an instruction
 * set that is not usable. */
LEAT_API leat_status leat_plan_make(const leat_model *model, const leat_options *options, leat_plan *out_plan,
                                    leat_error *error);

/* ---- forecast ---------------------------------------------------------------------------------------------------- */

/* How fast plans of a model would run here. docs/forecast.md has the formula and how far to believe it. */
typedef struct leat_forecaster leat_forecaster;
typedef enum leat_probe {
    LEAT_PROBE_AUTO,  /* measures drives and arithmetic, half a second each, where nothing was learned before */
    LEAT_PROBE_NEVER, /* what is not known stays so */
    LEAT_PROBE_AGAIN  /* measures both, whatever is kept; like AUTO not with less than 256 MiB free: it takes 64 */
} leat_probe;
typedef enum leat_forecast_source {
    LEAT_SOURCE_NONE,     /* not known */
    LEAT_SOURCE_DEFAULT,  /* a curve fitted to recorded routing of other models */
    LEAT_SOURCE_MEASURED, /* a short measurement of this machine */
    LEAT_SOURCE_PROFILE   /* earlier runs of this model */
} leat_forecast_source;
/* "unknown", "default", "measured", "profile" */
LEAT_API const char *leat_forecast_source_label(leat_forecast_source source);
typedef struct leat_forecast_basis {
    leat_forecast_source io, compute, hits;
    double drive_bytes_per_s;      /* random reads of 3 MiB; 0: not known */
    double drive_part_bytes_per_s; /* of 256 KiB */
    uint32_t sample_token_count;   /* decoded tokens whose routing is replayed */
} leat_forecast_basis;
typedef struct leat_forecast {
    double hit_rate;                       /* of the experts that a token uses; 1 without experts */
    double bytes_per_token;                /* read for a decoded token */
    double io_s, compute_s, expert_wait_s; /* of a decoded token: all reads, all arithmetic, waiting for experts */
    double token_s;                        /* max(io_s, compute_s + expert_wait_s); 0: not known */
    double prompt_bytes, prompt_s;         /* a prompt of 512 tokens until its first token; 0: not known */
} leat_forecast;
/* The model is borrowed until close; `options` only here: profile_folder, thread_count, isa, io and io_engine count. */
LEAT_API leat_status leat_forecaster_open(const leat_model *model, const leat_options *options, leat_probe probe,
                                          leat_forecaster **out_forecaster, leat_error *error);
LEAT_API void leat_forecaster_close(leat_forecaster **forecaster);
LEAT_API leat_forecast_basis leat_forecaster_basis(const leat_forecaster *forecaster);
/* For a plan of the same model. policy AUTO: the plan's. The first warm_count tokens from an empty cache do not count,
 * then `count` do; both 0: a text that goes on for long. */
LEAT_API leat_status leat_forecaster_forecast(const leat_forecaster *forecaster, const leat_plan *plan,
                                              leat_cache_policy policy, uint32_t warm_count, uint32_t count,
                                              leat_forecast *out_forecast, leat_error *error);

/* ---- what runs have learned ------------------------------------------------------------------------------------- */

/* Of a token; older runs count less. */
typedef struct leat_profile_phase {
    double token_count;       /* 0: nothing is known, the others are 0 */
    double compute_s, wait_s; /* seconds of arithmetic, and of waiting for the disk */
    double read_bytes;
} leat_profile_phase;
typedef struct leat_profile {
    bool is_known; /* there is a file of this model that can be read; else all is zero */
    char path[4096];
    uint64_t file_bytes;
    char isa[16]; /* with which the times were measured, like thread_count */
    uint32_t thread_count;
    leat_profile_phase decode, prefill;
    uint32_t sample_token_count;  /* decoded tokens whose routing is kept; 0: no experts, or none yet */
    double busiest_quarter_share; /* of all uses of experts: what the quarter of them that is used most has */
    uint32_t choice_count;
    struct {
        uint32_t slot_count;
        leat_cache_policy policy; /* that AUTO is with about so many slots */
    } choices[8];                 /* by rising slot_count */
} leat_profile;
/* folder: as leat_options.profile_folder; NULL: nothing is known. A damaged file counts as none. LEAT_NO_MEMORY. */
LEAT_API leat_status leat_profile_read(const leat_model *model, const char *folder, leat_profile *out_profile,
                                       leat_error *error);
/* Removes the file of this model, damaged or not; none is there: LEAT_OK. LEAT_IO. What an engine that is open has
 * learned is kept when it is closed. */
LEAT_API leat_status leat_profile_forget(const leat_model *model, const char *folder, leat_error *error);

/* ---- tokenizer --------------------------------------------------------------------------------------------------- */

typedef struct leat_tokenizer leat_tokenizer;
/* What calls give away for good: memory of the caller's, outside any budget. */
typedef struct leat_text {
    char *bytes;
    size_t count;
} leat_text; /* terminated; count is without it */
typedef struct leat_tokens {
    uint32_t *ids;
    size_t count;
} leat_tokens;
/* Leave the struct zeroed; a zeroed one is accepted. */
LEAT_API void leat_text_free(leat_text *text);
LEAT_API void leat_tokens_free(leat_tokens *tokens);

/* `path`: as leat_model_open; the folder needs a tokenizer (tokenizer.json, else SentencePiece's
 * tokenizer.model, else tiktoken.model or *.tiktoken) and nothing else. Its memory has no budget. */
LEAT_API leat_status leat_tokenizer_open(const char *path, leat_tokenizer **out_tokenizer, leat_error *error);
LEAT_API void leat_tokenizer_close(leat_tokenizer **tokenizer);
/* Text to ids; at most 256 MiB. special: added tokens in the text (control tokens among them) are recognised, otherwise
 * they are plain text. post_process: add what the tokenizer's post-processor adds. LEAT_USAGE: not valid UTF-8, with
 * the byte offset. LEAT_BUDGET: an engine's tokenizer works within the engine's budget. */
LEAT_API leat_status leat_tokenize(const leat_tokenizer *tokenizer, const char *text, size_t text_bytes, bool special,
                                   bool post_process, leat_tokens *out_tokens, leat_error *error);
/* Ids to text. skip_special: control tokens are left out. Ids that the vocabulary lacks give nothing; bytes that form
 * no character give U+FFFD. */
LEAT_API leat_status leat_detokenize(const leat_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                                     bool skip_special, leat_text *out_text, leat_error *error);
/* A raw prompt for a plain continuation: added tokens recognised, post-processed, BOS exactly once where the model
 * wants one. */
LEAT_API leat_status leat_tokenize_prompt(const leat_tokenizer *tokenizer, const char *text, size_t text_bytes,
                                          leat_tokens *out_tokens, leat_error *error);
/* The token's own text as the vocabulary spells it, or NULL. Lives as long as the tokenizer. */
LEAT_API const char *leat_token_text(const leat_tokenizer *tokenizer, uint32_t id);
/* What the token stands for by itself: the bytes that it adds to a text in which others stand before it, perhaps a part
 * of a character; a control token's spelling. Empty for an id that the vocabulary lacks. */
LEAT_API leat_status leat_token_bytes(const leat_tokenizer *tokenizer, uint32_t id, leat_text *out_text,
                                      leat_error *error);
/* Bytes of the tokenizer, its streams and running calls now; and at the worst moment of loading. */
LEAT_API void leat_tokenizer_memory(const leat_tokenizer *tokenizer, uint64_t *out_current, uint64_t *out_peak);

/* ---- chat -------------------------------------------------------------------------------------------------------- */

/* How a model converses: its chat template, compiled, and which of its tokens steer a conversation. Constant once it is
 * open: renderings may run in parallel. */
typedef struct leat_chat leat_chat;
/* template_text NULL: the folder's own template (chat_template.jinja, else tokenizer_config.json, else
 * chat_template.json; where that is a list, "tool_use" for requests with tools and "default" for others), else a small
 * built-in one when the vocabulary has the control tokens of Gemma 4, ChatML or Llama 3. Otherwise template_bytes of
 * Jinja, copied. LEAT_USAGE: there is no template. LEAT_MODEL: it cannot be compiled, with the line. The tokenizer is
 * borrowed and must outlive the chat; memory comes from where the tokenizer's comes from. */
LEAT_API leat_status leat_chat_open(const leat_tokenizer *tokenizer, const char *template_text, size_t template_bytes,
                                    leat_chat **out_chat, leat_error *error);
LEAT_API void leat_chat_close(leat_chat **chat);

/* The texts live as long as the chat. */
typedef struct leat_chat_info {
    const char *source;        /* "chat_template.jinja", "tokenizer_config.json", "chat_template.json", "built in", or
                                  "given" to leat_chat_open */
    const char *template_text; /* for requests without tools; terminated */
    size_t template_bytes;
    const char *answer_format; /* how answers mark thoughts and calls of tools, for leat_answer_open: "hermes", ... */
    bool takes_tools;          /* the template looks at tools */
    bool can_think;            /* it knows of thoughts, or lets a request switch thinking */
} leat_chat_info;
LEAT_API leat_chat_info leat_chat_get_info(const leat_chat *chat);

/* A conversation as ids and as text for people, either of which may be NULL. request: a JSON object
 *     {"messages": [{"role": "user", "content": "Hi"}, ...],   what templates know: also parts, tool_calls, ...
 *      "tools": [...], "documents": [...],                      lists of objects
 *      "add_generation_prompt": true,                           open the model's turn at the end; the default
 *      "continue_final_message": false,                         leave the last message open instead
 *      "kwargs": {"enable_thinking": true, ...},                further variables of the template
 *      "special_tokens": {...}, "now": "2026-03-04T05:06:07"}   for tests: in place of the tokenizer's and of the clock
 * of which only "messages" is needed; members that are not known are passed over. Messages are prepared as transformers
 * 5 does (docs/formats/tokenizer.md); calls' arguments that are text stay text. No text of the request ever becomes a
 * control token. The ids begin with BOS exactly once where the model wants one. LEAT_USAGE: not such an object, text
 * that is not UTF-8, what the template raised (error->text is its message), a final message that cannot be continued;
 * a rendering that takes more than 250 ms, or gives more than four times the request and 1 MiB. */
LEAT_API leat_status leat_chat_render(const leat_chat *chat, const char *request, size_t request_bytes,
                                      leat_tokens *out_tokens, leat_text *out_text, leat_error *error);

/* A template apart from any model. request: {"context": {variables}}, or {"chat": {a request as above}}, with "now" in
 * either. *out_fault is written in any case and is static: "none", "raised", "syntax", "undefined", "type", "value",
 * "security", "zero_division", "overflow", "recursion", "runtime", "limit", or "request" for what is wrong with the
 * request or with memory. Where it is "raised", *out_text is the template's message byte for byte, of any length that a
 * rendering may have (error->text shows its beginning, made fit for people). Errors and limits as leat_chat_open and
 * leat_chat_render. */
LEAT_API leat_status leat_template_render(const char *template_text, size_t template_bytes, const char *request,
                                          size_t request_bytes, leat_text *out_text, const char **out_fault,
                                          leat_error *error);

/* ---- streaming decode -------------------------------------------------------------------------------------------- */

/* Id by id, whole characters only. The tokenizer must outlive the stream. */
typedef struct leat_stream leat_stream;
LEAT_API leat_status leat_stream_open(const leat_tokenizer *tokenizer, bool skip_special, leat_stream **out_stream,
                                      leat_error *error);
LEAT_API void leat_stream_close(leat_stream **stream);
/* What the id adds to the text, perhaps nothing; terminated. *out_text is valid until the next call on this stream.
 * flush gives what is left, such as the bytes of an unfinished character as U+FFFD; the stream may then be used for
 * another text. */
LEAT_API leat_status leat_stream_push(leat_stream *stream, uint32_t id, const char **out_text, size_t *out_bytes,
                                      leat_error *error);
LEAT_API leat_status leat_stream_flush(leat_stream *stream, const char **out_text, size_t *out_bytes,
                                       leat_error *error);

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Reads what a model writes: plain text, reasoning and calls of tools, while it comes. How models of a family mark them
 * is a format, known by a label: "hermes", "qwen3_coder", "gemma4", "harmony" ... (docs/answers.md). */
typedef struct leat_answer leat_answer;

typedef enum leat_answer_kind { LEAT_ANSWER_TEXT, LEAT_ANSWER_REASONING, LEAT_ANSWER_CALL } leat_answer_kind;

typedef struct leat_answer_event {
    leat_answer_kind kind;
    const char *text; /* TEXT, REASONING: what is added, whole characters, not terminated; CALL: the arguments, a JSON
                         object as text, terminated */
    size_t text_bytes;
    const char *call_name; /* CALL */
    const char *call_id;   /* CALL: as the model wrote it; NULL where it wrote none */
} leat_answer_event;
/* The event's texts are valid during the call. Any status but LEAT_OK ends the push and is its result. */
typedef leat_status leat_answer_fn(void *user, const leat_answer_event *event, leat_error *error);

/* The label of the format that goes with a chat template, told by the words in its text; "generic" where none does.
 * Static. */
LEAT_API const char *leat_answer_format(const char *template_text, size_t template_bytes);
/* request: the JSON object that was rendered, of which only "tools" is read: the types of their parameters decide how
 * bare values are read, and without tools the markup of calls stays text. NULL: no tools. prompt: the rendered text or
 * its end, which tells whether a thought is open already; NULL: not known. LEAT_USAGE: no such format, a request that
 * is no JSON object, tools that are no list of objects. LEAT_BUDGET: tools of many megabytes. */
LEAT_API leat_status leat_answer_open(const char *format, const char *request, size_t request_bytes, const char *prompt,
                                      size_t prompt_bytes, leat_answer **out_answer, leat_error *error);
LEAT_API void leat_answer_close(leat_answer **answer);
/* What the model wrote, control tokens spelled out; a piece may end inside of a character. Text and reasoning are
 * handed on as soon as they cannot be the beginning of a mark, calls when they are complete; how the text was cut into
 * pieces does not show. What looked like a call and is none comes as text, as it was written; so does a call of more
 * than 1 MiB. Marks, and the white space that belongs to them, are dropped: the family's template writes the same bytes
 * again. After a failure the answer can only be closed. One thread at a time. */
LEAT_API leat_status leat_answer_push(leat_answer *answer, const char *text, size_t text_bytes, leat_answer_fn *fn,
                                      void *user, leat_error *error);
/* Once, at the end: what was held back. A call that is not complete comes as text. */
LEAT_API leat_status leat_answer_finish(leat_answer *answer, leat_answer_fn *fn, void *user, leat_error *error);
/* What opens a call of `name` (NULL: of any tool, up to where its name stands), to be put behind the prompt when a call
 * is demanded, and to be pushed to the answer first. LEAT_USAGE when the format has no calls, or there is no such
 * format. */
LEAT_API leat_status leat_answer_call_prefix(const char *format, const char *name, leat_text *out_text,
                                             leat_error *error);
/* What closes the thought that a rendered prompt leaves open (as templates do that end with "<think>\n"), up to where a
 * call may begin; empty where none is open. To be put behind the prompt, for the model and for leat_answer_open, before
 * what leat_answer_call_prefix gives. LEAT_USAGE: no such format. */
LEAT_API leat_status leat_answer_thought_close(const char *format, const char *prompt, size_t prompt_bytes,
                                               leat_text *out_text, leat_error *error);

/* ---- engine ------------------------------------------------------------------------------------------------------ */

typedef struct leat_engine leat_engine;

/* Plans (errors as leat_plan_make), opens the tokenizer (where the folder has one), takes all memory and begins to read
 * the trunk: it is read on behind the first steps. A weight that cannot be read is LEAT_IO of the first step that needs
 * it, not of opening. The model is borrowed and must outlive the engine. `options` is copied. */
LEAT_API leat_status leat_engine_open(const leat_model *model, const leat_options *options, leat_engine **out_engine,
                                      leat_error *error);
/* Waits for reads under way. Its session and streams must be closed. */
LEAT_API void leat_engine_close(leat_engine **engine);
/* Lives as long as the engine. */
LEAT_API const leat_plan *leat_engine_plan(const leat_engine *engine);
/* Which size of slots (of plan.expert_class_count) the layer uses, counted as those with experts are; 0 is the largest.
 */
LEAT_API uint32_t leat_engine_expert_class(const leat_engine *engine, uint32_t layer_idx);
/* NULL when the folder has none. Lives as long as the engine. */
LEAT_API const leat_tokenizer *leat_engine_tokenizer(const leat_engine *engine);

/* For programs that wait between calls: does what steps do about memory that others need, or no longer need
 * (ignore_pressure, ignore_leases). Looks four times a second at most and then takes about 0.2 ms. Text and logits are
 * not affected. */
LEAT_API void leat_engine_poll(leat_engine *engine);
/* For programs that wait between calls: whether the model's files can still be read, by what could not be read last
 * and two small blocks of each file, other ones each time. Waits for the disk. LEAT_IO: they cannot. Text and logits
 * are not affected. Takes 128 KiB of the stack. */
LEAT_API leat_status leat_engine_check_files(leat_engine *engine, leat_error *error);

typedef struct leat_pool {
    const char *name;
    uint64_t current_bytes, peak_bytes;
} leat_pool;
typedef struct leat_stats {
    uint64_t load_ns;                    /* how long opening took; weights that stay are read on behind it */
    uint64_t read_count;                 /* reads of weights since open, the trunk's included */
    uint64_t read_bytes;                 /* what the system was asked for, alignment included */
    uint64_t payload_bytes;              /* what was wanted of it */
    uint64_t copied_bytes;               /* weights that did not go from the disk straight to where the arithmetic takes
                                            them: by the system out of the page cache, or small parts while loading */
    uint64_t read_busy_ns;               /* time with at least one read queued or under way */
    uint64_t read_retries;               /* errors of the disk after which a read was tried again */
    uint32_t reads_in_flight;            /* under way now */
    uint64_t expert_hits, expert_misses; /* one for each expert that a layer asked for */
    uint64_t expert_evictions;
    uint64_t ahead_reads;                          /* experts read before their layer asked */
    uint64_t ahead_used;                           /* misses that found theirs under way or there */
    uint64_t ahead_wasted;                         /* guesses that nobody asked for */
    uint64_t ahead_used_bytes, ahead_wasted_bytes; /* the memory of those used; what was read for the others */
    uint64_t warmed_experts;                       /* read by the warm start, which is over; not among the misses */
    uint32_t expert_slot_count;                    /* now: fewer than the plan's while memory is scarce */
    uint32_t cache_resizes;                        /* how often that changed */
    uint64_t expert_wait_ns;                       /* the step waited for the disk */
    uint64_t streamed_record_count; /* layers, or slices of the head, read because the budget does not keep them */
    uint64_t streamed_wait_ns;      /* the step waited for those */
    uint64_t trunk_wait_ns;         /* steps waited for weights that stay: the first ones after the opening */
    /* Time of steps; without gaps or overlaps, so that they sum to what the steps took. What callbacks take is not in
     * it, but for the route sink's. */
    uint64_t attention_ns, ffn_ns, router_ns;
    uint64_t moe_ns;         /* routed experts, without their router */
    uint64_t head_ns;        /* final norm and output head */
    uint64_t step_other_ns;  /* embedding, norms, sums, per-layer inputs */
    uint64_t disk_wait_ns;   /* expert_wait_ns, streamed_wait_ns, trunk_wait_ns, and waiting for rows of tables */
    uint64_t rss_peak_bytes; /* VmHWM of the process */
    leat_isa isa;            /* in use */
    bool io_is_direct;       /* every weight file is read past the page cache */
    bool io_is_measured;     /* as in the plan, like the two counts */
    uint32_t direct_file_count, buffered_file_count;
    leat_io_engine io_engine; /* in use */
    leat_pool pools[16];      /* (pool_count) of the engine's ledger */
    uint32_t pool_count;
} leat_stats;
/* From any thread. */
LEAT_API leat_stats leat_engine_get_stats(const leat_engine *engine);

/* ---- session ----------------------------------------------------------------------------------------------------- */

typedef struct leat_session leat_session;

/* An empty timeline. One session per engine at a time in this version: its memory is part of the plan. LEAT_USAGE when
 * one is open. */
LEAT_API leat_status leat_session_open(leat_engine *engine, leat_session **out_session, leat_error *error);
LEAT_API void leat_session_close(leat_session **session);

/* Makes the timeline equal to ids[0..count): keeps the longest usable common prefix, computes the rest in chunks.
 * *out_reused (may be NULL): tokens that were kept; sliding layers can go back only as far as their rings reach, else
 * all is computed again. After success the logits of the last token are there. LEAT_CONTEXT when count exceeds the
 * plan's ctx, LEAT_USAGE for count 0 or an id outside the vocabulary: nothing has changed. LEAT_CANCELLED and LEAT_IO
 * leave a valid shorter timeline without logits; the call may be made again. */
LEAT_API leat_status leat_session_sync(leat_session *session, const uint32_t *ids, size_t count, size_t *out_reused,
                                       leat_error *error);
/* Appends one token and computes the logits after it. Errors as sync; the timeline is then as before. */
LEAT_API leat_status leat_session_append(leat_session *session, uint32_t id, leat_error *error);
/* Tokens of the timeline. */
LEAT_API size_t leat_session_length(const leat_session *session);
/* vocab_size floats after the last token, valid until the next call that computes on this session. NULL when there are
 * none. */
LEAT_API const float *leat_session_logits(const leat_session *session);

/* Receives the logits (vocab_size floats, valid during the call) after each position of leat_session_score, in order
 * from 0; a status other than LEAT_OK ends the score with it. */
typedef leat_status leat_score_fn(void *user, size_t position, const float *logits, leat_error *error);
/* As sync, but from an empty timeline (what was there is dropped), and every position's logits are handed to `fn`. */
LEAT_API leat_status leat_session_score(leat_session *session, const uint32_t *ids, size_t count, leat_score_fn *fn,
                                        void *user, leat_error *error);

/* Routed experts of every row computed while a sink is set, chunk by chunk and layer by layer: layer_idx counts layers
 * with experts; experts and weights have `count` entries in the router's order, valid during the call. NULL ends it.
 * For tests and traces. */
typedef void leat_route_fn(void *user, uint32_t layer_idx, size_t position, const uint32_t *experts,
                           const float *weights, uint32_t count);
LEAT_API void leat_session_set_route_sink(leat_session *session, leat_route_fn *fn, void *user);

/* Every token that is computed while a sink is set, in the order of positions: those of a prompt, each appended and
 * each scored one. logits: vocab_size floats, or NULL where none were computed; valid during the call. All routes of
 * the position have come before. A status other than LEAT_OK ends the running call with it; the token remains part of
 * the timeline. NULL ends it. */
typedef leat_status leat_token_fn(void *user, size_t position, uint32_t id, const float *logits, leat_error *error);
LEAT_API void leat_session_set_token_sink(leat_session *session, leat_token_fn *fn, void *user);
/* What a layer with experts asked the expert cache for while a sink is set, in order: enough to replay the cache
 * exactly. Arrays are valid during the call. NULL ends it. */
typedef struct leat_acquire {
    uint32_t layer_idx; /* counts layers with experts */
    size_t position;    /* of the step's first row */
    uint32_t row_count;
    const uint32_t *experts;     /* (count) distinct, in the order in which they were asked for */
    const uint32_t *expert_rows; /* (count) how many of the rows use each; NULL for a single row */
    uint32_t count;
    const uint32_t *ahead; /* (ahead_count) read ahead for this layer, while the layer before held its last experts */
    uint32_t ahead_count;
} leat_acquire;
typedef void leat_acquire_fn(void *user, const leat_acquire *acquire);
LEAT_API void leat_session_set_acquire_sink(leat_session *session, leat_acquire_fn *fn, void *user);

/* The expert cache has shrunk or grown to `slot_count`; between two calls of the acquire sink. NULL ends it. */
typedef void leat_resize_fn(void *user, uint32_t slot_count);
LEAT_API void leat_session_set_resize_sink(leat_session *session, leat_resize_fn *fn, void *user);

/* ---- replay ------------------------------------------------------------------------------------------------------ */

/* Recorded routing (docs/expert-cache.md): what another size of the expert cache, or another policy, would have done.
 */
typedef struct leat_replay leat_replay;
typedef struct leat_replay_info {
    uint64_t step_count, token_count;
    uint32_t layer_count, expert_count;
    uint32_t used_count; /* experts that one token uses in a layer */
    bool has_settings;   /* of the engine that wrote the file; else the next two are 0 */
    uint32_t slot_count;
    leat_cache_policy cache_policy;
    uint32_t resize_count; /* how often the cache changed its size while it was recorded: then no replay is exact */
} leat_replay_info;
typedef struct leat_replay_counts {
    uint64_t hits, misses, evictions;
    uint64_t ahead_used, ahead_wasted; /* read ahead: misses that it served, guesses that nobody asked for */
} leat_replay_counts;
/* LEAT_MODEL: not such a file, with the line. */
LEAT_API leat_status leat_replay_open(const char *path, leat_replay **out_replay, leat_error *error);
LEAT_API void leat_replay_close(leat_replay **replay);
LEAT_API leat_replay_info leat_replay_get_info(const leat_replay *replay);
/* with_look_ahead: what the file says was read ahead is read ahead. LEAT_BUDGET: fewer slots than one set of experts.
 * With the settings of the file the counts are those of the engine that wrote it, unless its cache was resized
 * meanwhile. */
LEAT_API leat_status leat_replay_run(const leat_replay *replay, uint32_t slot_count, leat_cache_policy policy,
                                     bool with_look_ahead, leat_replay_counts *out_counts, leat_error *error);
/* The bound that no policy passes: what is wanted last is evicted. */
LEAT_API leat_status leat_replay_run_belady(const leat_replay *replay, uint32_t slot_count,
                                            leat_replay_counts *out_counts, leat_error *error);

/* ---- sampler ----------------------------------------------------------------------------------------------------- */

typedef struct leat_sampler_options {
    float temperature;    /* 0: greedy (the lowest id among equals) */
    uint32_t top_k;       /* 0: off */
    float top_p;          /* 1: off */
    float min_p;          /* 0: off */
    float repeat_penalty; /* 1: off; divides positive and multiplies negative logits of recent tokens */
    float presence_penalty, frequency_penalty; /* 0: off */
    uint32_t repeat_last;                      /* how many recent tokens the penalties see */
    uint64_t seed;
} leat_sampler_options;
/* temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalties, repeat_last 64, seed 0 */
LEAT_API leat_sampler_options leat_sampler_options_default(void);
/* The defaults, under what the model's generation_config.json says: temperature (0 where do_sample is false), top_k,
 * top_p, min_p (0 where only top_p is given) and repetition_penalty. */
LEAT_API leat_sampler_options leat_model_sampler_options(const leat_model *model);

typedef struct leat_sampler leat_sampler;
/* LEAT_USAGE names the option out of range: temperature 0 to 100, top_p and min_p 0 to 1, repeat_penalty 0.01 to 100,
 * the other penalties -100 to 100. Its memory, at most about 24 bytes a token of the
 * vocabulary, is not in an engine's ledger; plans count one sampler in process_bytes. */
LEAT_API leat_status leat_sampler_open(const leat_sampler_options *options, uint32_t vocab_size,
                                       leat_sampler **out_sampler, leat_error *error);
LEAT_API void leat_sampler_close(leat_sampler **sampler);
/* Order: penalties, top_k, temperature, top_p, min_p, draw. logits: vocab_size floats. recent[0..recent_count) is the
 * timeline so far (its tail is used); it may be NULL when recent_count is 0. NaN is never picked; LEAT_INTERNAL when
 * the logits hold no finite number, or +infinity. Takes one number from the generator, none when greedy. */
LEAT_API leat_status leat_sampler_pick(leat_sampler *sampler, const float *logits, const uint32_t *recent,
                                       size_t recent_count, uint32_t *out_id, leat_error *error);

#ifdef __cplusplus
}
#endif
#endif
