#!/usr/bin/env python3
"""Writes the model of make_synthetic_model.py as a GGUF file, so that other engines can be measured on the same shape.

    make_synthetic_gguf.py PRESET FILE [--layers N] [--skew 1.0] [--seed 1]

Shapes, the uneven use of experts and the order of tensors come from make_synthetic_model.py itself. What has 4 bits
there is Q4_0 here, 8 bits Q8_0 (4.5 and 8.5 bits a weight in both files), vectors are F32; gate and up of an expert lie
in one tensor, as in published files. The weights are other random numbers of the same spread. There is no vocabulary:
feed token ids. Standard library only; never holds more than some pieces of 36 MiB.
"""
import argparse
import math
import random
import struct

import make_synthetic_model

F32, Q4_0, Q8_0 = 0, 2, 8
BLOCK = 32  # weights that share a scale, in both formats
BLOCK_BYTES = {Q4_0: 18, Q8_0: 34}  # the scale as a half float, then the weights
POOL_BLOCKS = 1 << 20
ALIGNMENT = 32

GLOBAL_NAMES = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "router.proj": "ffn_gate_inp", "experts.switch_glu.gate_proj": "ffn_gate_up_exps",
    "experts.switch_glu.down_proj": "ffn_down_exps", "layer_scalar": "layer_output_scale",
}
GEMMA4_NORMS = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "pre_feedforward_layernorm_2": "pre_ffw_norm_2", "post_feedforward_layernorm": "post_ffw_norm",
    "post_feedforward_layernorm_1": "post_ffw_norm_1", "post_feedforward_layernorm_2": "post_ffw_norm_2",
}
QWEN3_NORMS = {"post_attention_layernorm": "ffn_norm"}
SCALES = {"router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale"}


class GgufWriter:
    """Takes the calls of make_synthetic_model's presets and writes the tensors one after the other."""

    def __init__(self, norms, seed):
        self.layer_names = {**LAYER_NAMES, **norms}
        self.random = random.Random(seed)
        self.tensors = []  # (name, type, dimensions, bytes, pieces())
        self.pools = {}

    def rename(self, name):
        name = name.split("model.")[-1].removesuffix(".weight")
        if not name.startswith("layers."):
            return GLOBAL_NAMES[name] + ".weight"
        _, layer, part = name.split(".", 2)
        return "blk.%s.%s" % (layer, SCALES.get(part) or self.layer_names[part] + ".weight")

    def vector(self, name, count, value):
        self.tensors.append((self.rename(name), F32, [count], 4 * count, lambda: [struct.pack("<f", value) * count]))

    def matrix(self, name, rows, cols, bits, stack=(), row_factor=None):
        if name.endswith("switch_glu.up_proj"):
            return  # lies behind gate, in one tensor
        if name.endswith("switch_glu.gate_proj"):
            rows *= 2
        kind = {4: Q4_0, 8: Q8_0}[bits]
        blocks = math.prod(stack) * rows * cols // BLOCK
        if row_factor:
            def pieces():
                return [self.scaled_row(kind, cols, row_factor(row)) for row in range(rows)]
        else:
            def pieces():
                return self.noise(kind, cols, blocks)
        self.tensors.append((self.rename(name), kind, [cols, rows, *stack], blocks * BLOCK_BYTES[kind], pieces))

    def pool(self, kind, cols):
        """Blocks whose weights have the variance 1/cols and the mean 0."""
        if (kind, cols) not in self.pools:
            size = BLOCK_BYTES[kind]
            if kind == Q4_0:  # a nibble is its weight plus 8; -8 becomes 0
                nibble = [8, *range(1, 16)]
                codes = bytes(nibble[i & 15] | nibble[i >> 4] << 4 for i in range(256))
                spread = math.sqrt(sum((n - 8) ** 2 for n in nibble) / 16)
            else:  # a byte is its weight; -128 becomes 0
                codes = bytes(0 if i == 128 else i for i in range(256))
                spread = math.sqrt(2 * sum(i * i for i in range(128)) / 256)
            scale = struct.pack("<e", 1 / (spread * math.sqrt(cols)))
            noise = self.random.randbytes(POOL_BLOCKS * (size - 2)).translate(codes)
            pool = bytearray(POOL_BLOCKS * size)
            for i in range(size):
                pool[i::size] = scale[i : i + 1] * POOL_BLOCKS if i < 2 else noise[i - 2 :: size - 2]
            self.pools[kind, cols] = memoryview(pool)
        return self.pools[kind, cols]

    def noise(self, kind, cols, blocks):
        pool, size = self.pool(kind, cols), BLOCK_BYTES[kind]
        while blocks:
            begin = self.random.randrange(POOL_BLOCKS // 2)
            count = min(blocks, POOL_BLOCKS - begin)
            yield pool[begin * size : (begin + count) * size]
            blocks -= count

    def scaled_row(self, kind, cols, factor):
        row, size = bytearray().join(self.noise(kind, cols, cols // BLOCK)), BLOCK_BYTES[kind]
        scale = struct.pack("<e", struct.unpack_from("<e", row)[0] * factor)
        row[0::size], row[1::size] = scale[:1] * (cols // BLOCK), scale[1:] * (cols // BLOCK)
        return row

    def write(self, path, metadata):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(metadata))
        head += b"".join(packed_string(key) + packed_value(value) for key, value in metadata.items())
        offset = 0
        for name, kind, dimensions, size, _ in self.tensors:
            head += packed_string(name) + struct.pack("<I%dQ" % len(dimensions), len(dimensions), *dimensions)
            head += struct.pack("<IQ", kind, offset)
            offset += size + -size % ALIGNMENT
        with open(path, "wb") as f:
            f.write(head + bytes(-len(head) % ALIGNMENT))
            for name, _, _, size, pieces in self.tensors:
                written = sum(f.write(piece) for piece in pieces())
                assert written == size, (name, written, size)
                f.write(bytes(-size % ALIGNMENT))
            return f.tell()


def packed_string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def packed_value(value, with_type=True):
    """An unsigned integer, float, bool, string or list of one of these, with GGUF's number of its type before it."""
    if isinstance(value, list):
        kind, body = 9, packed_value(value[0])[:4] + struct.pack("<Q", len(value))
        body += b"".join(packed_value(v, False) for v in value)
    elif isinstance(value, str):
        kind, body = 8, packed_string(value)
    elif isinstance(value, bool):
        kind, body = 7, struct.pack("<?", value)
    elif isinstance(value, float):
        kind, body = 6, struct.pack("<f", value)
    else:
        kind, body = 4, struct.pack("<I", value)
    return struct.pack("<I", kind) + body if with_type else body


def common_metadata(arch, c):
    found = {
        "context_length": c["max_position_embeddings"], "embedding_length": c["hidden_size"],
        "block_count": c["num_hidden_layers"], "feed_forward_length": c["intermediate_size"],
        "attention.head_count": c["num_attention_heads"], "attention.head_count_kv": c["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "attention.key_length": c["head_dim"],
        "attention.value_length": c["head_dim"], "rope.dimension_count": c["head_dim"], "vocab_size": c["vocab_size"],
    }
    return {"general.architecture": arch, "general.quantization_version": 2, "tokenizer.ggml.model": "none",
            **{arch + "." + key: value for key, value in found.items()}}


def qwen3_metadata(writer, config):
    return {**common_metadata("qwen3", config), "qwen3.rope.freq_base": config["rope_theta"]}


def gemma4_metadata(writer, config):
    c = config["text_config"]
    is_sliding = [kind == "sliding_attention" for kind in c["layer_types"]]
    full, sliding = c["rope_parameters"]["full_attention"], c["rope_parameters"]["sliding_attention"]
    wide, narrow, turned = c["global_head_dim"], c["head_dim"], full["partial_rotary_factor"]
    kv_heads = [c["num_key_value_heads"] if s else c["num_global_key_value_heads"] for s in is_sliding]
    # Full attention turns a part of each head only; the divisor of the other pairs makes their angle nothing.
    factors = [1.0 if i < turned * wide / 2 else 1e30 for i in range(wide // 2)]
    writer.tensors.append(("rope_freqs.weight", F32, [wide // 2], wide * 2,
                           lambda: [struct.pack("<%df" % len(factors), *factors)]))
    found = {
        "attention.head_count_kv": kv_heads, "attention.key_length": wide, "attention.value_length": wide,
        "attention.key_length_swa": narrow, "attention.value_length_swa": narrow, "rope.dimension_count": wide,
        "rope.dimension_count_swa": narrow, "rope.freq_base": full["rope_theta"],
        "rope.freq_base_swa": sliding["rope_theta"], "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": is_sliding, "attention.shared_kv_layers": 0,
        "embedding_length_per_layer_input": 0, "final_logit_softcapping": c["final_logit_softcapping"],
        "expert_count": c["num_experts"], "expert_used_count": c["top_k_experts"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
    }
    return {**common_metadata("gemma4", c), **{"gemma4." + key: value for key, value in found.items()}}


DIALECTS = {"gemma4": (GEMMA4_NORMS, gemma4_metadata), "qwen3": (QWEN3_NORMS, qwen3_metadata)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("preset", choices=make_synthetic_model.PRESETS)
    parser.add_argument("file")
    parser.add_argument("--layers", type=int, default=0, help="fewer layers than the model has")
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    build, layers = make_synthetic_model.PRESETS[a.preset]
    norms, metadata_of = DIALECTS[a.preset.split("-")[0]]
    writer = GgufWriter(norms, a.seed)
    config = build(writer, a.layers or layers, 4, a.skew)
    size = writer.write(a.file, metadata_of(writer, config))
    print("%s: %.2f GiB, %d tensors" % (a.file, size / (1 << 30), len(writer.tensors)))


if __name__ == "__main__":
    main()
