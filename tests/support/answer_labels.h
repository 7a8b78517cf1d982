/*
 * answer_labels.h - the formats of answers (src/text/answer_parser.h), for tests of all of them. The seeds of
 * fuzz_answer begin with a label's place in this list: new ones come last.
 */
#ifndef SUPPORT_ANSWER_LABELS_H
#define SUPPORT_ANSWER_LABELS_H

static const char *const answer_labels[] = {"minimax_m2",
                                            "gemma4",
                                            "harmony",
                                            "command_r7b",
                                            "deepseek_dsml",
                                            "glm4",
                                            "nemotron3",
                                            "qwen3_coder",
                                            "kimi_k2",
                                            "deepseek_v3",
                                            "deepseek_v3.1",
                                            "mistral",
                                            "mistral_named",
                                            "hermes",
                                            "llama3",
                                            "command_r",
                                            "generic",
                                            "apertus",
                                            "apriel",
                                            "minimax_m1",
                                            "nemotron_v2",
                                            "gigachat3",
                                            "gigachat3.1",
                                            "granite3",
                                            "functionary_v3.1",
                                            "functionary_v3.2",
                                            "solar_open",
                                            "firefunction",
                                            "lfm2",
                                            "reka",
                                            "mistral_id",
                                            "seed_oss",
                                            "minimax_m3",
                                            "kimi_k3",
                                            "deepseek_v4",
                                            "minicpm5",
                                            "hunyuan_v3",
                                            "step3.5",
                                            "glm4.7",
                                            "ling3",
                                            "laguna_xs",
                                            "laguna_s",
                                            "muse",
                                            "llama4",
                                            "hunyuan",
                                            "internlm2"};
enum { ANSWER_LABEL_COUNT = sizeof answer_labels / sizeof *answer_labels };

#endif
