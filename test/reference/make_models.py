"""Tiny models of each family with PEFT adapters: logits, losses, every gradient, ten AdamW steps, greedy tokens, merged weights.

The stored numbers are computed in float64 and rounded to float32 once. Stock Hugging Face code casts to float32 inside
(norm, rotary angles, softmax), so these functions are replaced by the same formulas without the casts; the stock
float32 model must agree with the result (`agree`), or nothing is written.
"""

import importlib
import json
import shutil
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM
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
# The other families, smaller still: model_type, then what makes each its own.
SMALL = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
plain_rope = lambda theta: dict(rope_type="default", rope_theta=theta)
FAMILIES = {
    "mistral": dict(sliding_window=5, head_dim=8, rope_parameters=plain_rope(10000.0)),
    # the first layer sees everything, the second a window
    "qwen2": dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=6, max_window_layers=1,
                  rope_parameters=plain_rope(10000.0)),
    "qwen3": dict(tie_word_embeddings=True, head_dim=12, rope_parameters=plain_rope(1000000.0)),
    "gemma2": dict(head_dim=12, query_pre_attn_scalar=10, sliding_window=5, attn_logit_softcapping=2.0,
                   final_logit_softcapping=4.0, rope_parameters=plain_rope(10000.0)),
    "gemma3_text": dict(head_dim=12, query_pre_attn_scalar=10, sliding_window=5, num_hidden_layers=3,
                        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                        rope_parameters=dict(sliding_attention=plain_rope(10000.0),
                                             full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0))),
    "smollm3": dict(tie_word_embeddings=True, no_rope_layers=[1, 0], rope_parameters=plain_rope(2000000.0)),
    "granite": dict(tie_word_embeddings=True, embedding_multiplier=1.5, logits_scaling=0.5, residual_multiplier=0.6,
                    attention_multiplier=0.4, rope_parameters=plain_rope(10000.0)),
    # rows of up to 16 tokens turn by the short factors, longer ones by the long
    "phi3": dict(sliding_window=9, original_max_position_embeddings=16,
                 rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                                      short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.0, 4.0],
                                      original_max_position_embeddings=16)),
    "olmo2": dict(rope_parameters=plain_rope(500000.0)),
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
    for index, name in enumerate([*CASES, *FAMILIES]):
        folder = vectors / name
        shutil.rmtree(folder, ignore_errors=True)
        case(name, folder, seed=100 + index)
        print(name, "done")


def config_of(name):
    if name in CASES:
        return AutoConfig.for_model("llama", **{**COMMON, **CASES[name]})
    return AutoConfig.for_model(name, **{**SMALL, **FAMILIES[name]})


def case(name, folder, seed):
    generator = torch.Generator().manual_seed(seed)
    make_model(name, folder, generator)
    for adapter in ADAPTERS:
        make_adapter(folder, adapter, generator)
    rows = make_rows(generator, config_of(name).vocab_size)
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
    config = config_of(name)
    model = AutoModelForCausalLM.from_config(config)
    offset = 0 if name.startswith("gemma") else 1  # Gemma's norms multiply by 1 + weight
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if key.split(".")[-2].endswith(("norm", "layernorm")):
            p.data = offset + 0.3 * noise.clamp(-2, 2)
            if key == "model.norm.weight" and offset == 0:
                p.data += 3 if name == "gemma2" else 15  # logits of a quiet embedding, below the cap where there is one
        elif key.endswith("bias"):
            p.data = 0.2 * noise
        elif "embed_tokens" in key:
            loud = 0.05 if name.startswith("gemma") else 0.4  # what a tied head makes of its own token stays in bounds
            p.data = noise * (loud if config.tie_word_embeddings else 1.0)
        else:  # a head three times as loud as the other layers: logits with a standard deviation of about 3
            p.data = noise * (3 if key.startswith("lm_head") else 1.2) / p.shape[1] ** 0.5
    model.save_pretrained(folder / "model")
    older_config(folder, config)


def older_config(folder, config):
    """The same config as transformers 4 wrote it: rope_theta and rope_scaling apart."""
    written = json.loads((folder / "model" / "config.json").read_text())
    rope = written.pop("rope_parameters")
    if "full_attention" in rope:  # Gemma 3: two sets of frequencies, and layers by a pattern
        written["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
        written["sliding_window_pattern"] = len(written.pop("layer_types"))
        written.pop("_sliding_window_pattern", None)
    else:
        written.pop("layer_types", None)
    written["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        written["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    written["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    written["torch_dtype"] = written.pop("dtype", "float32")
    written["transformers_version"] = "4.45.0"
    text = json.dumps(written, indent=2) + "\n"
    (folder / "config-v4.json").write_text(text)
    with tempfile.TemporaryDirectory() as t:
        open(f"{t}/config.json", "w").write(text)
        again = AutoConfig.from_pretrained(t)
        assert again.rope_parameters == config.rope_parameters, again.rope_parameters
        assert getattr(again, "layer_types", None) == getattr(config, "layer_types", None)


def make_adapter(folder, adapter, generator):
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    base.config._name_or_path = base.name_or_path = f"tiny-{base.config.model_type}"
    options = dict(ADAPTERS[adapter])
    if adapter == "qv" and base.config.model_type == "phi3":
        options["target_modules"] = ["qkv_proj"]
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", **options))
    for key, p in model.named_parameters():
        if "lora_" in key:  # B is not zero: with B = 0 a wrong gradient of A is zero as well and passes
            p.data = torch.randn(p.shape, generator=generator) * (0.4 / p.shape[1] ** 0.5)
    model.save_pretrained(folder / adapter)
    (folder / adapter / "README.md").unlink(missing_ok=True)


def make_rows(generator, vocabulary):
    rows = []
    for length, spans in ROWS:
        ids = torch.randint(3, vocabulary, (length,), generator=generator)
        ids[0] = 1
        rows.append({"ids": ids.tolist(), "supervised": [int(any(a <= i < b for a, b in spans)) for i in range(length)]})
    return rows


# --- float64


class Wide:
    """The Hugging Face functions that cast to float32, without the cast."""

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def offset_norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1 + self.weight)

    def rotary(self, x, position_ids, layer_type=None):
        prefix = "" if layer_type is None else f"{layer_type}_"
        inverse, scaling = getattr(self, f"{prefix}inv_freq"), getattr(self, f"{prefix}attention_scaling")
        rope = self.config.rope_parameters
        if rope.get("rope_type") == "longrope":
            factors = torch.tensor(rope["long_factor" if position_ids.max() >= rope["original_max_position_embeddings"] else "short_factor"])
            pairs = len(factors)
            inverse = 1.0 / (factors * rope["rope_theta"] ** (torch.arange(0, 2 * pairs, 2).float() / (2 * pairs)))
        angle = position_ids[..., None].to(x.dtype) * inverse.to(x.dtype)
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos() * scaling, angle.sin() * scaling

    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, softcap=None, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        scores = query @ key.transpose(2, 3) * (module.head_dim**-0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = torch.softmax(scores + attention_mask.to(scores.dtype), dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights


def functions_of(model_type):
    """The family's norm, rotary and attention: where they stand, and the same in float64."""
    family = model_type.removesuffix("_text")
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    find = lambda ending: next(getattr(module, n) for n in vars(module) if n.endswith(ending) and getattr(module, n).__module__ == module.__name__)
    norm = Wide.offset_norm if family.startswith("gemma") else Wide.norm
    return [(find("RMSNorm"), "forward", norm), (find("RotaryEmbedding"), "forward", Wide.rotary),
            (module, "eager_attention_forward", Wide.attention)]


STOCK = {}


def load(folder, variant, stock=False):
    """The model in float64 (or as stock in float32): base (frozen), full (all trainable) or with an adapter."""
    model_type = AutoConfig.from_pretrained(folder / "model").model_type
    for owner, name, wide in functions_of(model_type):
        original = STOCK.setdefault((owner, name), getattr(owner, name))
        setattr(owner, name, original if stock else wide)
    kind = "sdpa" if model_type == "llama" and not stock else "eager"
    model = AutoModelForCausalLM.from_pretrained(folder / "model", attn_implementation=kind)
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
    if not folder.name.startswith("phi3"):  # padded to the longest, all its rows would turn by the long factors
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


def adamw(model, trainable, options):
    return torch.optim.AdamW(trainable, lr=1, **{k: options[k] for k in ("betas", "eps", "weight_decay")})


OPTIMIZER = adamw  # what `train` steps with; a group's learning rate is multiplied by each step's


def train(folder, variant, rows, tensors, trained=None):
    """Ten optimiser steps of two micro-batches each, every supervised token weighing the same."""
    options = OPTIMIZERS[variant]
    runs = []
    for stock in (False, True):
        model = load(folder, variant, stock)
        trainable = {plain(k): p for k, p in model.named_parameters() if p.requires_grad}
        optimizer = OPTIMIZER(model, list(trainable.values()), options)
        rates = [group["lr"] for group in optimizer.param_groups]
        losses, norms = [], []
        for lr, micro_batches in zip(options["lr"], STEPS):
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = lr * rate
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
    if variant != "full" if trained is None else trained:
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
    many = 8 if models[0].config.model_type == "llama" else 4
    for _ in range(2000):
        vocabulary = models[0].config.vocab_size
        prompt = [1, *torch.randint(3, vocabulary, (5,), generator=generator).tolist()]
        found = [greedy(m, prompt) for m in models]
        clear = all(lead > 5e-3 and 2 not in tokens and len(set(tokens)) > many for tokens, lead in found)
        if clear and len({tuple(tokens) for tokens, _ in found}) == len(variants):
            return prompt
    raise AssertionError("no prompt is continued clearly by every variant")


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
