"""Adapters with more than A and B (modules_to_save, trainable_token_indices, lora_bias), on models with tied heads and without: loss, every
gradient, ten AdamW steps, greedy tokens and what merge_and_unload makes of the weights. Run by make.py after make_models, whose functions it uses."""

import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import make_models as models

LORA = dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
ADAPTERS = {
    "llama3": {"norm": dict(modules_to_save=["norm"]), "head": dict(modules_to_save=["lm_head"]),
               "tokens": dict(trainable_token_indices=[40, 7, 91, 12])},
    "llama2": {"head": dict(modules_to_save=["lm_head", "model.norm"]), "tokens": dict(trainable_token_indices={"embed_tokens": [40, 7, 91, 12]})},
    "gemma2": {"embed": dict(modules_to_save=["embed_tokens", "norm"]), "tokens": dict(trainable_token_indices=[40, 7, 91, 12])},
    "qwen3": {"block": dict(modules_to_save=["layers.1.mlp", "q_norm"], target_modules="all-linear")},
    "bias": {"biases": dict(lora_bias=True, target_modules=["q_proj", "down_proj"])},
}

OPTIMIZER = models.OPTIMIZERS["qv"]


def write(vectors):
    torch.set_num_threads(1)
    models.plain = plain
    for index, (base, adapters) in enumerate(ADAPTERS.items()):
        case(vectors, base, adapters, torch.Generator().manual_seed(600 + index))
    print("saved done")


def plain(name):
    for of in (".modules_to_save.default", ".default"):
        name = name.replace(of, "")
    return name.removeprefix("base_model.model.")


def case(vectors, base, adapters, generator):
    folder = vectors / "saved" / base
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model").symlink_to(vectors / base / "model")
    models.ADAPTERS, models.OPTIMIZERS = adapters, {name: OPTIMIZER for name in adapters}
    for adapter, options in adapters.items():
        make_adapter(folder, adapter, {**LORA, **options}, generator)
    rows = models.make_rows(generator, models.config_of(base).vocab_size)
    for row in rows[:4]:  # the trained tokens are read and predicted
        row["ids"][2:4] = [40, 7]
        row["ids"][-1] = 12
    prompt = models.find_prompt(folder, generator, ("base", *adapters))
    expected, tensors = {"rows": rows, "prompt": prompt}, {}
    for adapter in adapters:
        expected[adapter] = models.measure(folder, adapter, rows, tensors)
        expected[adapter]["greedy"], expected[adapter]["smallest_margin"] = models.greedy(models.load(folder, adapter), prompt)
        expected[adapter]["training"] = models.train(folder, adapter, rows, tensors)
        merged = models.load(folder, adapter, stock=True).merge_and_unload()
        expected[adapter]["tied"] = merged.lm_head.weight.data_ptr() == merged.model.embed_tokens.weight.data_ptr()
        whole = [k for k in merged.state_dict() if "embed_tokens" in k or "lm_head" in k or k in ("model.norm.weight", "model.layers.1.mlp.down_proj.bias")]
        with torch.no_grad():
            logits = merged(input_ids=torch.tensor([rows[1]["ids"]])).logits[0]
        assert (logits - tensors[f"{adapter}.logits.1"].float()).norm() < 1e-4 * logits.norm(), adapter
        expected[adapter]["sums"] = {k: merged.state_dict()[k].double().sum().item() for k in whole}
    (folder / "model").unlink()
    keep = {k: v for k, v in tensors.items() if ".logits." not in k or k.endswith(".1")}
    keep = {k: v for k, v in keep.items() if "inputs_embeds" not in k}
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in keep.items()}, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))


def make_adapter(folder, adapter, options, generator):
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    base.config._name_or_path = base.name_or_path = f"tiny-{base.config.model_type}"
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", **options))
    start = {plain(k): v.clone() for k, v in base.state_dict().items() if "lora_" not in k}
    for key, p in model.named_parameters():
        if not p.requires_grad:
            continue
        noise = torch.randn(p.shape, generator=generator)
        if "lora_B" in key and key.endswith("bias"):
            p.data = 0.3 * noise
        elif "lora_" in key:
            p.data = noise * (0.4 / p.shape[1] ** 0.5)
        else:  # it starts at the base's values
            assert any(torch.equal(p.data, v) for v in start.values()) or "trainable_tokens" in key, key
            if "trainable_tokens" in key:
                tokens = options["trainable_token_indices"]
                ids = tokens["embed_tokens"] if isinstance(tokens, dict) else tokens
                assert torch.equal(p.data, original(base)[ids])
            p.data = p.data + noise * 0.2 * p.data.std().clamp(min=0.05)
    model.save_pretrained(folder / adapter)
    (folder / adapter / "README.md").unlink(missing_ok=True)


def original(model):
    """The embedding of the base, whatever wraps it."""
    return next(p for k, p in model.named_parameters() if "embed_tokens" in k and "trainable" not in k and "modules_to_save" not in k).data
