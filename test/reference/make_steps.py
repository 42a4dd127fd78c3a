"""Ten optimiser steps by other rules than AdamW at one rate, on models and adapters that are there already: LoRA+ as PEFT's
create_loraplus_optimizer makes it, and transformers' Adafactor; AdamW's on DoRA with patterns of ranks and alphas, and over a base that bitsandbytes holds as nf4. Run by make.py after make_adapters, whose adapters it uses."""

import json
import shutil

import bitsandbytes.functional as F
import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file
from transformers.optimization import Adafactor

import bnb_on_cpu
import make_adapters as adapters
import make_models as models

RATIO = 16
SLOW = dict(models.OPTIMIZERS["all"], lr=[lr / 4 for lr in models.OPTIMIZERS["all"]["lr"]])
PATTERNED = dict(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True,
                 rank_pattern={"v_proj": 6, r"model\.layers\.1\.mlp.*": 2},
                 alpha_pattern={"down_proj": 3, r"model\.layers\.0\.self_attn\.[qk]_proj": 14})
KEPT = (".layers.1.", ".embed_tokens.")  # of what is trained


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "steps"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    bnb_on_cpu.mend()
    expected, tensors = {}, {}
    models.OPTIMIZER = adafactor
    for variant, name in (("all", "adafactor"), ("full", "adafactor full")):
        expected[name] = steps(vectors / "llama3", vectors / "llama3", variant, name, models.OPTIMIZERS["all"], tensors)
    models.OPTIMIZER = loraplus
    expected["loraplus"] = steps(vectors / "llama3", vectors / "llama3", "all", "loraplus", SLOW, tensors)
    adapters.as_dora()
    models.ADAPTERS = adapters.DORA
    expected["loraplus dora"] = steps(vectors / "bias", vectors / "dora", "all", "loraplus dora", SLOW, tensors)
    models.OPTIMIZER = models.adamw
    (folder / "model").symlink_to(vectors / "bias" / "model")
    adapters.DORA["patterned"] = PATTERNED
    adapters.make_dora(folder, "patterned", torch.Generator().manual_seed(500))
    (folder / "model").unlink()
    expected["dora patterns"] = steps(vectors / "bias", folder, "patterned", "dora patterns", models.OPTIMIZERS["all"], tensors, vectors / "dora")
    models.load = load_nf4
    expected["dora nf4"] = steps(vectors / "bias", vectors / "dora", "all", "dora nf4", models.OPTIMIZERS["all"], tensors)
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items() if any(part in k for part in KEPT)},
              folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("steps done")


def loraplus(model, _trainable, options):
    """PEFT's optimiser, whose weight decay has a name of its own."""
    return create_loraplus_optimizer(model, torch.optim.AdamW, lr=1, loraplus_lr_ratio=RATIO, betas=options["betas"],
                                     eps=options["eps"], loraplus_weight_decay=options["weight_decay"])


def adafactor(_model, trainable, options):
    """As transformers' Trainer makes it for `optim: adafactor`."""
    return Adafactor(trainable, lr=1, scale_parameter=False, relative_step=False, weight_decay=options["weight_decay"])


def load_nf4(folder, variant, stock=False):
    """DoRA on linear layers that bitsandbytes holds as nf4; in float64, on the values that it decodes them to."""
    peft = models.PeftModel.from_pretrained
    models.PeftModel.from_pretrained = lambda model, *args, **kwargs: peft(held_as_nf4(model, stock), *args, **kwargs)
    try:
        return LOAD(folder, variant, stock).train()
    finally:
        models.PeftModel.from_pretrained = peft


LOAD = models.load


def held_as_nf4(model, stock):
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(part, name, held(linear) if stock else decoded(linear))
    return model


def held(linear):
    out, into = linear.weight.shape
    made = Linear4bit(into, out, bias=linear.bias is not None, compute_dtype=torch.float32, compress_statistics=False, quant_type="nf4")
    made.weight = Params4bit(linear.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4")
    made.bias = linear.bias
    return made.to("cpu")


def decoded(linear):
    linear.weight.data = F.dequantize_4bit(*F.quantize_4bit(linear.weight.data, quant_type="nf4"))
    return linear


def steps(base, folder, variant, name, options, tensors, rows_of=None):
    models.OPTIMIZERS = {**models.OPTIMIZERS, variant: options}
    model, found = folder / "model", {}
    if base != folder:
        model.symlink_to(base / "model")
    rows = json.loads(((rows_of or folder) / "expected.json").read_text())["rows"]
    result = models.train(folder, variant, rows, found, trained=True)
    if base != folder:
        model.unlink()
    tensors |= {k.replace(variant, name, 1): v for k, v in found.items()}
    return {**result, "loraplus_lr_ratio": RATIO if models.OPTIMIZER is loraplus else None}
