"""Writes vectors/gguf/*: a GGUF of each family by llama.cpp's own converter, and the logits of the model that it was made of.

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-0.3.36.tar.gz
    python test/reference/make_gguf_families.py llama_cpp_python-0.3.36/vendor/llama.cpp

The models are random, their weights rounded to float16, so that a file of halves holds them exactly; norms are float32 there.
The tokenizer is forty letters. expected.safetensors has for each the tokens of one row and its logits, computed in float64.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA_CPP = Path(sys.argv[1])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]
import gguf  # noqa: E402
from conversion import get_model_class  # noqa: E402

OUT = Path(__file__).parent / "vectors" / "gguf"
VOCAB = 40
SMALL = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
plain = lambda theta: dict(rope_type="default", rope_theta=theta)
FAMILIES = {
    "mistral": dict(sliding_window=None, head_dim=12, rope_parameters=plain(10000.0)),
    "qwen2": dict(tie_word_embeddings=True, rope_parameters=plain(1000000.0)),
    "qwen3": dict(tie_word_embeddings=True, head_dim=12, rope_parameters=plain(1000000.0)),
    "gemma2": dict(head_dim=12, query_pre_attn_scalar=12, sliding_window=5, attn_logit_softcapping=2.0,
                   final_logit_softcapping=4.0, rope_parameters=plain(10000.0)),
    # llama.cpp's own pattern: the sixth layer is the first without a window
    "gemma3_text": dict(head_dim=12, query_pre_attn_scalar=12, sliding_window=5, num_hidden_layers=6,
                        rope_parameters=dict(sliding_attention=plain(10000.0),
                                             full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0))),
    "smollm3": dict(tie_word_embeddings=True, num_hidden_layers=4, rope_parameters=plain(2000000.0)),
    "granite": dict(tie_word_embeddings=True, embedding_multiplier=1.5, logits_scaling=0.5, residual_multiplier=0.6,
                    attention_multiplier=0.4, rope_parameters=plain(10000.0)),
    # the row is longer than 8 tokens, so it turns by the long factors
    "phi3": dict(sliding_window=6, original_max_position_embeddings=8,
                 rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                                      short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.0, 4.0],
                                      original_max_position_embeddings=8)),
    "olmo2": dict(rope_parameters=plain(500000.0)),
}


def model_of(name, generator):
    config = AutoConfig.for_model(name, **{**SMALL, **FAMILIES[name]})
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    offset = 0 if name.startswith("gemma") else 1
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if key.split(".")[-2].endswith(("norm", "layernorm")):
            p.data = offset + 0.3 * noise.clamp(-2, 2)
            if key == "model.norm.weight" and offset == 0:
                p.data += 3
        elif key.endswith("bias"):
            p.data = 0.2 * noise
        elif "embed_tokens" in key:
            p.data = noise * (0.2 if name.startswith("gemma") else 0.4)
        else:
            p.data = noise * 1.2 / p.shape[1] ** 0.5
        p.data = p.data.half().float()
    return model


def letters(self):
    """A tokenizer of single letters, in place of the converter's reading of a real one."""
    self.gguf_writer.add_tokenizer_model("gpt2")
    self.gguf_writer.add_tokenizer_pre("gpt-2")
    self.gguf_writer.add_token_list([chr(0x100 + i) for i in range(VOCAB)])
    self.gguf_writer.add_token_types([gguf.TokenType.NORMAL] * VOCAB)
    self.gguf_writer.add_token_merges([])
    self.gguf_writer.add_bos_token_id(1)
    self.gguf_writer.add_eos_token_id(2)
    self.gguf_writer.add_add_bos_token(False)


def convert(model, folder, path):
    model.save_pretrained(folder)
    vocab = {chr(0x100 + i): i for i in range(VOCAB)}
    (folder / "tokenizer.json").write_text(json.dumps(dict(model=dict(vocab=vocab), added_tokens=[])))
    kind = get_model_class(model.config.architectures[0])
    writer = type(kind.__name__, (kind,), dict(model_arch=kind.model_arch, set_vocab=letters))
    with torch.inference_mode():
        writer(folder, gguf.LlamaFileType.MOSTLY_F16, path, model_name="tiny").write()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    expected = {}
    for index, name in enumerate(FAMILIES):
        generator = torch.Generator().manual_seed(500 + index)
        model = model_of(name, generator)
        with tempfile.TemporaryDirectory() as folder:
            convert(model, Path(folder), OUT / f"{name}.gguf")
        ids = torch.randint(3, VOCAB, (1, 14), generator=generator)
        with torch.no_grad():
            logits = model.double()(input_ids=ids, use_cache=False).logits[0]
        expected[f"{name}.ids"] = ids[0].float()
        expected[f"{name}.logits"] = logits.float().contiguous()
        print(name, os.path.getsize(OUT / f"{name}.gguf"), float(logits.std()))
    save_file(expected, OUT / "expected.safetensors", metadata={"format": "pt"})


main()
