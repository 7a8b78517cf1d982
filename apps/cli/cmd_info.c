/* cmd_info.c - what a model is made of. */
#include "cli.h"
#include "human.h"
#include "json_writer.h"
#include "model_list.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_json(cli *c, const leat_model *model)
{
    const leat_model_info *info = leat_model_get_info(model);
    json_writer w;
    json_writer_init(&w, &c->out);
    json_writer_begin_document(&w, "leat.info/1");
    json_writer_text(&w, "path", info->path);
    json_writer_text(&w, "architecture", info->architecture);
    json_writer_text(&w, "model_type", info->model_type);
    json_writer_u64(&w, "parameter_count", info->parameter_count);
    json_writer_u64(&w, "active_parameter_count", info->active_parameter_count);
    json_writer_u64(&w, "weight_bytes", info->weight_bytes);
    json_writer_u64(&w, "trunk_bytes", info->trunk_bytes);
    json_writer_u64(&w, "expert_bytes", info->expert_bytes);
    json_writer_u64(&w, "on_demand_bytes", info->on_demand_bytes);
    json_writer_u64(&w, "ignored_bytes", info->ignored_bytes);
    json_writer_u64(&w, "file_count", info->file_count);
    json_writer_u64(&w, "tensor_count", info->tensor_count);
    json_writer_u64(&w, "layer_count", info->layer_count);
    json_writer_u64(&w, "hidden_size", info->hidden_size);
    json_writer_u64(&w, "vocab_size", info->vocab_size);
    json_writer_u64(&w, "head_count", info->head_count);
    json_writer_u64(&w, "kv_head_count", info->kv_head_count);
    json_writer_u64(&w, "head_dim", info->head_dim);
    json_writer_u64(&w, "context_max", info->context_max);
    json_writer_u64(&w, "window", info->window);
    json_writer_u64(&w, "expert_count", info->expert_count);
    json_writer_u64(&w, "expert_used_count", info->expert_used_count);
    json_writer_u64(&w, "moe_layer_count", info->moe_layer_count);
    json_writer_u64(&w, "expert_record_bytes", info->expert_record_bytes);
    json_writer_flag(&w, "head_is_tied", info->head_is_tied);
    json_writer_flag(&w, "has_tokenizer", info->has_tokenizer);
    json_writer_text(&w, "chat_template", info->chat_template);
    json_writer_text(&w, "chat_format", info->chat_format);
    json_writer_ids(&w, "stop_ids", info->stop_ids, info->stop_id_count);
    json_writer_begin_array(&w, "weights");
    for (uint32_t i = 0; i < leat_model_weight_count(model); i++) {
        leat_weight_info weight = leat_model_weight(model, i);
        json_writer_begin_object(&w, NULL);
        json_writer_text(&w, "name", weight.name);
        json_writer_text(&w, "type", weight.type);
        json_writer_u64(&w, "group", weight.group);
        json_writer_u64(&w, "stack_count", weight.stack_count);
        json_writer_u64(&w, "rows", weight.rows);
        json_writer_u64(&w, "cols", weight.cols);
        json_writer_u64(&w, "bytes", weight.bytes);
        json_writer_text(&w, "place", weight.place);
        json_writer_flag(&w, "differs_from_config", weight.differs_from_config);
        json_writer_end_object(&w);
    }
    json_writer_end_array(&w);
    json_writer_begin_array(&w, "warnings");
    for (uint32_t i = 0; i < leat_model_warning_count(model); i++)
        json_writer_text(&w, NULL, leat_model_warning(model, i));
    json_writer_end_array(&w);
    json_writer_end_document(&w);
}

static void print_sizes(output *out, const leat_model_info *info)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    output_print(out, "parameters    %s, %s at work for a token\n", human_count(info->parameter_count, a),
                 human_count(info->active_parameter_count, b));
    output_print(out, "weights       %s in %u file%s, %u tensors\n", human_bytes(info->weight_bytes, a),
                 info->file_count, info->file_count == 1 ? "" : "s", info->tensor_count);
    output_print(out, "  trunk       %s, used by every token\n", human_bytes(info->trunk_bytes, a));
    if (info->expert_bytes > 0)
        output_print(out, "  experts     %s, streamed; the largest is %s\n", human_bytes(info->expert_bytes, a),
                     human_bytes(info->expert_record_bytes, b));
    if (info->on_demand_bytes > 0)
        output_print(out, "  on demand   %s, rows read when needed\n", human_bytes(info->on_demand_bytes, a));
    if (info->ignored_bytes > 0)
        output_print(out, "  not used    %s, of parts that are not the text model\n",
                     human_bytes(info->ignored_bytes, a));
}

static void print_shape(output *out, const leat_model_info *info)
{
    output_print(out, "layers        %u, width %u\n", info->layer_count, info->hidden_size);
    output_print(out, "attention     %u heads, %u kv heads, %u dimensions", info->head_count, info->kv_head_count,
                 info->head_dim);
    if (info->window > 0) output_print(out, "; window %u in sliding layers", info->window);
    output_print(out, "\n");
    if (info->expert_count > 0)
        output_print(out, "experts       %u in each of %u layers, %u chosen\n", info->expert_count,
                     info->moe_layer_count, info->expert_used_count);
    output_print(out, "vocabulary    %u%s\n", info->vocab_size,
                 info->head_is_tied ? ", the head is the embedding" : "");
    output_print(out, "context       up to %u tokens\n", info->context_max);
    output_print(out, "tokenizer     %s; chat format %s%s%s\n", info->has_tokenizer ? "present" : "none",
                 info->chat_format, info->chat_template ? ", from " : "",
                 info->chat_template ? info->chat_template : "");
    output_print(out, "ends at      ");
    for (uint32_t i = 0; i < info->stop_id_count; i++) output_print(out, " %u", info->stop_ids[i]);
    output_print(out, "%s\n", info->stop_id_count == 0 ? " (no token)" : "");
}

static void print_weights(output *out, const leat_model *model)
{
    for (uint32_t i = 0; i < leat_model_weight_count(model); i++) {
        leat_weight_info weight = leat_model_weight(model, i);
        char bytes[HUMAN_BYTES], shape[64], type[40];
        if (weight.stack_count > 1)
            snprintf(shape, sizeof shape, "%u x %" PRIu64 " x %" PRIu64, weight.stack_count, weight.rows, weight.cols);
        else
            snprintf(shape, sizeof shape, "%" PRIu64 " x %" PRIu64, weight.rows, weight.cols);
        if (weight.group > 0)
            snprintf(type, sizeof type, "%s/%u", weight.type, weight.group);
        else
            snprintf(type, sizeof type, "%s", weight.type);
        output_print(out, "%-12s %-20s %10s  %-9s  %s%s\n", type, shape, human_bytes(weight.bytes, bytes), weight.place,
                     weight.name, weight.differs_from_config ? "  (config.json says otherwise)" : "");
    }
}

leat_status cmd_info(cli *c, leat_error *error)
{
    leat_model *model = NULL;
    TRY(model_open_only(c, &model, error));
    if (c->options.json) {
        print_json(c, model);
    } else {
        const leat_model_info *info = leat_model_get_info(model);
        output_print(&c->out, "model         %s\n", info->path);
        output_print(&c->out, "architecture  %s (%s)\n", info->architecture, info->model_type);
        print_sizes(&c->out, info);
        print_shape(&c->out, info);
        if (report_verbosity() > 0)
            print_weights(&c->out, model);
        else
            output_print(&c->out, "(-v lists the weights)\n");
    }
    leat_model_close(&model);
    return LEAT_OK;
}
