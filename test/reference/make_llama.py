"""Tiny Llamas with PEFT adapters: logits, losses, every gradient, ten AdamW steps, greedy tokens, merged weights.

The stored numbers are computed in float64 and rounded to float32 once. Stock Hugging Face code casts to float32 inside
(norm, rotary angles, softmax), so three of its functions are replaced by the same formulas without the casts; the stock
float32 model must agree with the result (`agree`), or nothing is written.
"""

import json
import shutil
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama
from transformers.utils.logging import disable_progress_bar

COMMON = dict(vocab_size=160, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
              max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
CASES = {
    "llama2": dict(num_key_value_heads=4, tie_word_embeddings=False, rms_norm_eps=1e-5, max_position_embeddings=128,
                   rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    # head_dim 16 is not 48 / 4; of its frequencies one is left alone, one blended and six divided by the factor
    "llama3": dict(num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, rms_norm_eps=1e-5, num_hidden_layers=3,
                   max_position_embeddings=512,
                   rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                        high_freq_factor=4.0, original_max_position_embeddings=64)),
    "bias": dict(num_key_value_heads=1, tie_word_embeddings=False, rms_norm_eps=1e-6, attention_bias=True, mlp_bias=True,
                 rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5)),
}
ADAPTERS = {
    "qv": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "all": dict(r=3, lora_alpha=7, target_modules="all-linear", use_rslora=True),
}
# (length, spans of supervised tokens): completion only, a whole row, two turns
ROWS = [(7, [(3, 7)]), (12, [(5, 12)]), (5, [(1, 5)]), (31, [(6, 13), (22, 31)]), (9, [(8, 9)])]
# each step's micro-batches: row indices. Their supervised counts differ, so a mean of means would be wrong
STEPS = [[[0, 1], [2]], [[3], [4, 0]], [[4], [1, 2]], [[2, 0], [3]], [[1], [0]]] * 2
OPTIMIZERS = {
    "qv": dict(lr=[1e-2] * 10, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, max_grad_norm=0.5),
    "all": dict(lr=[0.001, 0.002, 0.003, 0.004, 0.004, 0.003, 0.002, 0.001, 0.0005, 0.0], betas=(0.8, 0.95), eps=1e-6,
                weight_decay=0.1, max_grad_norm=0.8),
    "full": dict(lr=[2e-3] * 10, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, max_grad_norm=5.0),
}


def write(vectors):
    torch.set_num_threads(1)
    disable_progress_bar()
    for index, name in enumerate(CASES):
        folder = vectors / name
        shutil.rmtree(folder, ignore_errors=True)
        case(name, folder, seed=100 + index)
        print(name, "done")


def case(name, folder, seed):
    generator = torch.Generator().manual_seed(seed)
    make_model(name, folder, generator)
    for adapter in ADAPTERS:
        make_adapter(folder, adapter, generator)
    rows = make_rows(generator)
    prompt = find_prompt(folder, generator)
    expected = {"rows": rows, "prompt": prompt, "base": {}, "qv": {}, "all": {}, "full": {}}
    tensors = {}
    for variant in ("base", "qv", "all"):
        expected[variant] |= measure(folder, variant, rows, tensors)
        expected[variant]["greedy"], expected[variant]["smallest_margin"] = greedy(load(folder, variant), prompt)
        check_generate(folder, variant, prompt, expected[variant]["greedy"])
    gradients(folder, "full", rows, tensors)
    for variant in ("qv", "all", "full"):
        expected[variant]["training"] = train(folder, variant, rows, tensors)
    merged = load(folder, "all", stock=True).merge_and_unload().state_dict()
    linears = [k for k in merged if k.endswith("_proj.weight")]
    tensors |= {f"all.merged.{k}": merged[k] for k in linears}
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()}, folder / "expected.safetensors",
              metadata={"format": "pt"})
    (folder / "expected.json").write_text(pretty(expected))


# --- the model, its adapters, its rows


def make_model(name, folder, generator):
    config = LlamaConfig(**{**COMMON, **CASES[name]})
    model = LlamaForCausalLM(config)
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if key.endswith("norm.weight"):
            p.data = 1 + 0.3 * noise.clamp(-2, 2)
        elif key.endswith("bias"):
            p.data = 0.2 * noise
        elif "embed_tokens" in key:
            p.data = noise * (0.4 if config.tie_word_embeddings else 1.0)
        else:  # a head three times as loud as the other layers: logits with a standard deviation of about 3
            p.data = noise * (3 if key.startswith("lm_head") else 1.2) / p.shape[1] ** 0.5
    model.save_pretrained(folder / "model")
    older_config(folder, config)


def older_config(folder, config):
    """The same config as transformers 4 wrote it: rope_theta and rope_scaling apart."""
    written = json.loads((folder / "model" / "config.json").read_text())
    rope = written.pop("rope_parameters")
    written["rope_theta"] = rope.pop("rope_theta")
    written["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    written["torch_dtype"] = written.pop("dtype", "float32")
    written["transformers_version"] = "4.45.0"
    text = json.dumps(written, indent=2) + "\n"
    (folder / "config-v4.json").write_text(text)
    with tempfile.TemporaryDirectory() as t:
        open(f"{t}/config.json", "w").write(text)
        assert LlamaConfig.from_pretrained(t).rope_parameters == config.rope_parameters


def make_adapter(folder, adapter, generator):
    base = LlamaForCausalLM.from_pretrained(folder / "model")
    base.config._name_or_path = base.name_or_path = "tiny-llama"
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", **ADAPTERS[adapter]))
    for key, p in model.named_parameters():
        if "lora_" in key:  # B is not zero: with B = 0 a wrong gradient of A is zero as well and passes
            p.data = torch.randn(p.shape, generator=generator) * (0.4 / p.shape[1] ** 0.5)
    model.save_pretrained(folder / adapter)
    (folder / adapter / "README.md").unlink(missing_ok=True)


def make_rows(generator):
    rows = []
    for length, spans in ROWS:
        ids = torch.randint(3, COMMON["vocab_size"], (length,), generator=generator)
        ids[0] = 1
        rows.append({"ids": ids.tolist(), "supervised": [int(any(a <= i < b for a, b in spans)) for i in range(length)]})
    return rows


# --- float64


class Wide:
    """The three Hugging Face functions that cast to float32, without the cast."""

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        angle = position_ids[..., None].to(x.dtype) * self.inv_freq.to(x.dtype)
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling


STOCK = (modeling_llama.LlamaRMSNorm.forward, modeling_llama.LlamaRotaryEmbedding.forward)


def load(folder, variant, stock=False):
    """The model in float64 (or as stock in float32): base (frozen), full (all trainable) or with an adapter."""
    norm, rotary = STOCK if stock else (Wide.norm, Wide.rotary)
    modeling_llama.LlamaRMSNorm.forward, modeling_llama.LlamaRotaryEmbedding.forward = norm, rotary
    model = LlamaForCausalLM.from_pretrained(folder / "model", attn_implementation="eager" if stock else "sdpa")
    if variant in ADAPTERS:
        model = PeftModel.from_pretrained(model, folder / variant, is_trainable=True)
    elif variant == "base":
        model.requires_grad_(False)
    return model if stock else model.double()


def agree(what, wide, stock, bound=2e-5):
    worst = max(((a - b.double()).norm() / a.norm()).item() for a, b in zip(wide, stock, strict=True))
    assert worst < bound, f"{what}: float32 differs from float64 by {worst}"
    print(f"  {what}: float32 within {worst:.1e}")


# --- measurements


def losses_of(model, rows):
    """Summed cross entropy and logits of each row, run alone and unpadded."""
    out = []
    for row in rows:
        ids, mask = torch.tensor(row["ids"]), torch.tensor(row["supervised"], dtype=torch.bool)
        logits = model(input_ids=ids[None]).logits[0]
        out.append((cross_entropy(logits[:-1][mask[1:]], ids[mask], reduction="sum"), logits))
    return out


def count(rows):
    return sum(sum(row["supervised"]) for row in rows)


def measure(folder, variant, rows, tensors):
    with torch.no_grad():
        wide, stock = (losses_of(load(folder, variant, stock=s), rows) for s in (False, True))
        padded = padded_loss(load(folder, variant, stock=True), rows)
    agree(f"{variant} logits", [x for _, x in wide], [x for _, x in stock])
    total = sum(loss.item() for loss, _ in wide)
    assert abs(padded - total / count(rows)) < 1e-5, (padded, total / count(rows))
    tensors |= {f"{variant}.logits.{i}": logits for i, (_, logits) in enumerate(wide)}
    if variant != "base":
        gradients(folder, variant, rows, tensors)
    return {"loss_sum": total, "loss_mean": total / count(rows), "supervised_tokens": count(rows)}


def padded_loss(model, rows):
    """What the usual collator and Hugging Face's own loss make of the same rows."""
    longest = max(len(row["ids"]) for row in rows)
    pad = lambda values, fill: values + [fill] * (longest - len(values))
    label = lambda row: [i if s else -100 for i, s in zip(row["ids"], row["supervised"])]
    return model(input_ids=torch.tensor([pad(row["ids"], 0) for row in rows]),
                 attention_mask=torch.tensor([pad([1] * len(row["ids"]), 0) for row in rows]),
                 labels=torch.tensor([pad(label(row), -100) for row in rows])).loss.item()


def gradients(folder, variant, rows, tensors):
    """Of the mean loss, for every trainable parameter and (adapters only) the embeddings of each row."""
    found = []
    for stock in (False, True):
        model = load(folder, variant, stock)
        seen = []
        if variant in ADAPTERS:
            model.get_input_embeddings().register_forward_hook(lambda m, i, o: seen.append(o.requires_grad_()) or o.retain_grad())
        (sum(loss for loss, _ in losses_of(model, rows)) / count(rows)).backward()
        grads = {f"{variant}.grad.{plain(k)}": p.grad for k, p in model.named_parameters() if p.requires_grad}
        grads |= {f"{variant}.grad.inputs_embeds.{i}": x.grad[0] for i, x in enumerate(seen)}
        found.append(grads)
    agree(f"{variant} gradients", found[0].values(), found[1].values())
    tensors |= found[0]


def plain(name):
    return name.removeprefix("base_model.model.").replace(".default.weight", ".weight")


def train(folder, variant, rows, tensors):
    """Ten optimiser steps of two micro-batches each, every supervised token weighing the same."""
    options = OPTIMIZERS[variant]
    runs = []
    for stock in (False, True):
        model = load(folder, variant, stock)
        trainable = {plain(k): p for k, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(trainable.values(), lr=1, **{k: options[k] for k in ("betas", "eps", "weight_decay")})
        losses, norms = [], []
        for lr, micro_batches in zip(options["lr"], STEPS):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.zero_grad()
            tokens, total = sum(count([rows[i] for i in m]) for m in micro_batches), 0.0
            for micro_batch in micro_batches:
                loss = sum(loss for loss, _ in losses_of(model, [rows[i] for i in micro_batch])) / tokens
                loss.backward()
                total += loss.item()
            norms.append(torch.nn.utils.clip_grad_norm_(trainable.values(), options["max_grad_norm"]).item())
            losses.append(total)
            optimizer.step()
        runs.append((torch.tensor(losses, dtype=torch.float64), torch.tensor(norms, dtype=torch.float64), trainable))
    wide, stock = runs
    agree(f"{variant} losses and norms over ten steps", wide[:2], stock[:2])
    agree(f"{variant} after ten steps", wide[2].values(), stock[2].values())
    assert sum(n > options["max_grad_norm"] for n in wide[1]) >= 5, wide[1]
    if variant != "full":
        tensors |= {f"{variant}.trained.{k}": p for k, p in wide[2].items()}
    return {**options, "micro_batches": STEPS, "losses": wide[0].tolist(), "grad_norms": wide[1].tolist()}


# --- greedy tokens


def greedy(model, prompt, tokens=20):
    """The argmax continuation and the smallest lead that a chosen token had over the next best."""
    ids, lead = list(prompt), float("inf")
    with torch.no_grad():
        for _ in range(tokens):
            best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
            lead = min(lead, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
    return ids[len(prompt):], lead


def find_prompt(folder, generator, variants=("base", "qv", "all")):
    """The first random prompt whose continuations are clear at every token, differ, and hold no EOS."""
    models = [load(folder, v) for v in variants]
    while True:
        prompt = [1, *torch.randint(3, COMMON["vocab_size"], (5,), generator=generator).tolist()]
        found = [greedy(m, prompt) for m in models]
        clear = all(lead > 5e-3 and 2 not in tokens and len(set(tokens)) > 8 for tokens, lead in found)
        if clear and len({tuple(tokens) for tokens, _ in found}) == len(variants):
            return prompt


def check_generate(folder, variant, prompt, tokens):
    ids = torch.tensor([prompt])
    out = load(folder, variant, stock=True).generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                                     max_new_tokens=len(tokens), pad_token_id=0)
    assert out[0, len(prompt):].tolist() == tokens, variant


def pretty(value):
    """JSON with one key a line down to lists of numbers, which stay on their line."""
    if isinstance(value, dict):
        inner = ",\n".join(f"{json.dumps(k)}: {pretty(v)}" for k, v in value.items())
        return "{\n" + "\n".join("  " + line for line in inner.split("\n")) + "\n}"
    return json.dumps(value)
