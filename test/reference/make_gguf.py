"""Writes src/formats/fixtures/*: what Python reads out of quantised blocks and out of a small GGUF Llama.

    pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
    python test/reference/make_gguf.py

quants.safetensors   for each storage type, blocks with random bits (`q4_k.raw`) and their values by gguf's dequantize (`q4_k`)
llama.gguf           a two-layer Llama with grouped heads, q/k permuted as llama.cpp's convert_hf_to_gguf.py does, rope_freqs,
                     q/k/v biases, mixed storage types, a byte-level tokenizer
llama.safetensors    the same weights in Hugging Face's names and layout, as fp32 after dequantising
sentencepiece.gguf   a SentencePiece tokenizer, no output head
python.safetensors   mixed dtypes, written by the safetensors package: its bytes are the reference for ours
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "src" / "checkpoint" / "fixtures"
rng = np.random.default_rng(7)
TYPES = [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q4_K, Q.Q5_K, Q.Q6_K]
# Where the float16 scales are in a block: random bits there would make NaN and infinities.
HALVES = {Q.Q8_0: [0], Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}


LATER = [Q.IQ4_NL, Q.IQ4_XS]  # with random numbers of their own, so that the files before them stay as they were
HALVES |= {Q.IQ4_NL: [0], Q.IQ4_XS: [0]}


def random_blocks(kind, count, rng=rng):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(kind, []):
        scales = (rng.standard_normal(count) * 10.0 ** rng.integers(-6, 3, count)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    if kind in (Q.F16, Q.BF16):
        values = (rng.standard_normal(count) * 10.0 ** rng.integers(-6, 4, count)).astype(np.float32)
        blocks = gguf.quantize(values, kind).view(np.uint8).reshape(count, 2)
    return blocks


def quants():
    tensors = {}
    for kind in TYPES:
        block, _ = gguf.GGML_QUANT_SIZES[kind]
        raw = random_blocks(kind, max(4, 512 // block))
        name = kind.name.lower()
        tensors[f"{name}.raw"] = raw.reshape(-1)
        tensors[name] = gguf.dequantize(raw, kind).reshape(-1).astype(np.float32)
    for kind in LATER:
        raw = random_blocks(kind, 16, np.random.default_rng(11))
        tensors[f"{kind.name.lower()}.raw"] = raw.reshape(-1)
        tensors[kind.name.lower()] = gguf.dequantize(raw, kind).reshape(-1).astype(np.float32)
    save_file(tensors, OUT / "quants.safetensors")


def permute(weights, heads):
    """LlamaModel.permute of convert_hf_to_gguf.py."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def rope_freqs(head_dim, theta, factor, low, high, original):
    """The factors that convert_hf_to_gguf.py writes for rope_type llama3."""
    factors = []
    for freq in 1.0 / (theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)):
        wavelength = 2 * np.pi / freq
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def llama():
    d, ff, heads, kv, head_dim, layers = 32, 32, 4, 2, 16, 2
    w = gguf.GGUFWriter(OUT / "llama.gguf", "llama")
    w.add_block_count(layers)
    w.add_context_length(131072)
    w.add_embedding_length(d)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(500000.0)
    w.add_layer_norm_rms_eps(1e-5)
    letters = list("abdehlorw") + ["\u0120"]
    tokens = ["<|begin|>", "<|end|>", *letters, "he", "ll", "hell", "hello", "\u0120w"]
    merges = ["h e", "l l", "he ll", "hell o", "\u0120 w"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    w.add_token_merges(merges)
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_chat_template("{{ messages[0]['content'] }}")
    expected = {}

    def add(name, hf, shape, kind, heads_of=None):
        # Values are permuted after quantising: a row's blocks move as one.
        values = rng.standard_normal(shape).astype(np.float32)
        raw = gguf.quantize(values, kind)
        expected[hf] = gguf.dequantize(raw, kind).reshape(shape).astype(np.float32)
        stored = raw if heads_of is None else np.ascontiguousarray(permute(raw, heads_of))
        w.add_tensor(name, stored, raw_dtype=kind)

    add("token_embd.weight", "model.embed_tokens.weight", (len(tokens), d), Q.Q8_0)
    for i in range(layers):
        b, h = f"blk.{i}.", f"model.layers.{i}."
        kind = [Q.Q8_0, Q.Q4_1][i]
        add(b + "attn_norm.weight", h + "input_layernorm.weight", (d,), Q.F32)
        add(b + "attn_q.weight", h + "self_attn.q_proj.weight", (heads * head_dim, d), kind, heads)
        add(b + "attn_k.weight", h + "self_attn.k_proj.weight", (kv * head_dim, d), kind, kv)
        add(b + "attn_v.weight", h + "self_attn.v_proj.weight", (kv * head_dim, d), Q.F16)
        add(b + "attn_q.bias", h + "self_attn.q_proj.bias", (heads * head_dim,), Q.F32, heads)
        add(b + "attn_k.bias", h + "self_attn.k_proj.bias", (kv * head_dim,), Q.F32, kv)
        add(b + "attn_v.bias", h + "self_attn.v_proj.bias", (kv * head_dim,), Q.F32)
        add(b + "attn_output.weight", h + "self_attn.o_proj.weight", (d, heads * head_dim), Q.Q5_0)
        add(b + "attn_output.bias", h + "self_attn.o_proj.bias", (d,), Q.F32)
        add(b + "ffn_norm.weight", h + "post_attention_layernorm.weight", (d,), Q.F32)
        add(b + "ffn_gate.weight", h + "mlp.gate_proj.weight", (ff, d), Q.Q4_0)
        add(b + "ffn_up.weight", h + "mlp.up_proj.weight", (ff, d), Q.BF16)
        add(b + "ffn_down.weight", h + "mlp.down_proj.weight", (d, ff), Q.Q5_1)
    add("output_norm.weight", "model.norm.weight", (d,), Q.F32)
    add("output.weight", "lm_head.weight", (len(tokens), d), Q.Q8_0)
    w.add_tensor("rope_freqs.weight", rope_freqs(head_dim, 500000.0, 32.0, 1.0, 4.0, 8192))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(expected, OUT / "llama.safetensors")


def sentencepiece():
    """The shape of Llama 2's tokenizer: <unk>, <s>, </s>, 256 bytes, then pieces with scores."""
    w = gguf.GGUFWriter(OUT / "sentencepiece.gguf", "llama")
    pieces = ["\u2581h", "el", "lo", "\u2581hel", "\u2581hello", "\u2581w", "or", "ld", "\u2581wor", "\u2581world", "ell", "hello"]
    letters = ["\u2581", "h", "e", "l", "o", "w", "r", "d", "\u00e9"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + pieces + letters
    scores = [0.0] * 259 + [-float(i) for i in range(len(pieces) + len(letters))]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) + len(letters))
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def python_safetensors():
    tensors = {
        "b.weight": rng.standard_normal((3, 5)).astype(np.float32),
        "a.weight": rng.standard_normal((2, 2)).astype(np.float32),
        "half": rng.standard_normal(7).astype(np.float16),
        "ids": np.arange(4, dtype=np.int64),
        "mask": np.array([True, False, True]),
        "empty": np.zeros((0, 4), dtype=np.float32),
    }
    save_file(tensors, OUT / "python.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    quants()
    llama()
    sentencepiece()
    python_safetensors()
