"""Adapters of other kinds and starts than plain LoRA: DoRA on the model of the bias case (logits, every gradient, ten AdamW steps,
greedy tokens, merged weights; one layer with dropout), PiSSA, OLoRA and LoftQ on llama3's (ten steps, and PEFT's own conversion of the
first two to plain LoRA) and what EVA starts with. Run by make.py after make_models, whose functions it uses."""

import inspect
import shutil

import torch
from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from peft.utils import loftq_utils
from peft.utils.incremental_pca import IncrementalPCA
from peft.tuners.lora import eva
from peft.tuners.lora import layer as lora_layer
from peft.tuners.lora.layer import Linear
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import bnb_on_cpu
import make_models as models

DORA = {
    "some": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], layers_to_transform=[1]),
    "all": dict(r=3, lora_alpha=7, target_modules="all-linear", use_rslora=True),
}
STARTS = {
    "pissa": dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights="pissa"),
    "olora": dict(r=4, lora_alpha=2, target_modules=["q_proj", "down_proj"], init_lora_weights="olora"),
    # PEFT's LoftQ leaves the scale out: it is right at 1
    "loftq": dict(r=4, lora_alpha=4, target_modules=["q_proj", "up_proj"], init_lora_weights="loftq",
                  loftq_config=dict(loftq_bits=4, loftq_iter=1)),
    "loftq3": dict(r=4, lora_alpha=4, target_modules=["v_proj", "down_proj"], init_lora_weights="loftq",
                   loftq_config=dict(loftq_bits=4, loftq_iter=3)),
}
EVA = {
    "eva": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"], init_lora_weights="eva",
                eva_config=EvaConfig(rho=2.0)),
    "eva-kept": dict(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights="eva", use_rslora=True,
                     rank_pattern={"down_proj": 5}, eva_config=EvaConfig(rho=1.0, use_label_mask=False, whiten=True)),
}
OPTIMIZERS = {"some": models.OPTIMIZERS["qv"], "all": models.OPTIMIZERS["all"]}
MERGED = ("1.self_attn.v_proj.weight", "1.mlp.down_proj.weight")
START_OPTIMIZER = dict(models.OPTIMIZERS["all"], max_grad_norm=0.1)


def write(vectors):
    torch.set_num_threads(1)
    dora(vectors)
    starts(vectors)


def stored(tensors, path):
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


# --- DoRA


def dora(vectors):
    folder = vectors / "dora"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "model").symlink_to(vectors / "bias" / "model")
    generator = torch.Generator().manual_seed(400)
    models.ADAPTERS, models.OPTIMIZERS = DORA, OPTIMIZERS
    as_dora()
    for adapter in DORA:
        make_dora(folder, adapter, generator)
    rows, prompt = models.make_rows(generator, 160), models.find_prompt(folder, generator, ("base", *DORA))
    expected, tensors = {"rows": rows, "prompt": prompt}, {}
    for adapter in DORA:
        expected[adapter] = models.measure(folder, adapter, rows, tensors)
        expected[adapter]["greedy"], expected[adapter]["smallest_margin"] = models.greedy(models.load(folder, adapter), prompt)
        expected[adapter]["training"] = models.train(folder, adapter, rows, tensors)
        merged = models.load(folder, adapter, stock=True).merge_and_unload().state_dict()
        tensors |= {f"{adapter}.merged.{k}": v for k, v in merged.items() if k.endswith(MERGED)}
    (folder / "model").unlink()
    keep = {k: v for k, v in tensors.items() if ".logits." not in k or k.endswith(".1")}
    keep = {k: v for k, v in keep.items() if "inputs_embeds" not in k}
    stored(keep, folder / "expected.safetensors")
    (folder / "expected.json").write_text(models.pretty(expected))
    stored(with_dropout(generator), folder / "dropout.safetensors")
    print("dora done")


def as_dora():
    """What make_models does from here on is right for DoRA too."""
    load = models.load
    models.load = lambda *args, **kwargs: load(*args, **kwargs).train()  # in evaluation PEFT keeps norms over a step
    models.plain = lambda name: name.removeprefix("base_model.model.").replace(".default.weight", "" if "magnitude" in name else ".weight")


def make_dora(folder, adapter, generator):
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    base.config._name_or_path = base.name_or_path = "tiny-llama"
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", use_dora=True, **DORA[adapter]))
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "magnitude" in key:  # not the norms: a factor of 1 would hide a wrong one
            p.data *= 1 + 0.2 * noise
        elif "lora_" in key:
            p.data = noise * (0.4 / p.shape[1] ** 0.5)
    model.save_pretrained(folder / adapter)
    (folder / adapter / "README.md").unlink(missing_ok=True)


class Mask(torch.nn.Module):
    """Dropout by a mask that is known."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


def with_dropout(generator):
    """One linear layer with biases under DoRA, its input partly dropped: result and every gradient, in float64."""
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    base = torch.nn.Linear(6, 5).double()
    base.weight.data, base.bias.data = draw(5, 6), draw(5)
    layer = Linear(base, "default", config=LoraConfig(r=2, lora_alpha=5, lora_dropout=0.5, use_dora=True), r=2, lora_alpha=5).double().train()
    a, b, m = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.lora_magnitude_vector["default"].weight
    a.data, b.data = draw(2, 6), draw(5, 2)
    m.data = m.data * (1 + 0.3 * draw(5))
    mask = (torch.rand((4, 6), generator=generator, dtype=torch.float64) < 0.5) * 2.0
    layer.lora_dropout["default"] = Mask(mask)
    x, d_y = draw(4, 6).requires_grad_(), draw(4, 5)
    y = layer(x)
    y.backward(d_y)
    found = {"x": x, "mask": mask, "weight": base.weight, "bias": base.bias, "lora_A.weight": a, "lora_B.weight": b,
             "lora_magnitude_vector": m, "y": y, "d_y": d_y, "d_x": x.grad, "d_lora_A.weight": a.grad,
             "d_lora_B.weight": b.grad, "d_lora_magnitude_vector": m.grad}
    return {k: v.clone() for k, v in found.items()}


# --- starts that see the weight


def starts(vectors):
    folder = vectors / "starts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    generator = torch.Generator().manual_seed(401)
    rows = models.make_rows(generator, 160)
    expected, tensors = {"rows": rows}, {}
    bnb_on_cpu.mend()
    lora_layer.loftq_init = on_the_cpu(loftq_utils.loftq_init)
    for name, options in STARTS.items():
        expected[name] = train_start(vectors / "llama3" / "model", folder, name, options, rows, tensors)
    for name, options in EVA.items():
        make_eva(vectors / "llama3" / "model", folder / name, options, rows)
    stored(tensors, folder / "expected.safetensors")
    (folder / "expected.json").write_text(models.pretty(expected))
    print("starts done")


def train_start(path, folder, name, options, rows, tensors):
    """Ten steps from the start that PEFT makes; signs of singular vectors are free, so products are kept, not factors."""
    base = AutoModelForCausalLM.from_pretrained(path, attn_implementation="sdpa")
    base.config._name_or_path = base.name_or_path = "tiny-llama"
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", **options)).train()
    model.peft_config["default"].init_lora_weights = True  # what is saved first is read as plain factors
    model.save_pretrained(folder / f"{name}-start")
    model.peft_config["default"].init_lora_weights = options["init_lora_weights"]
    start = products(model)
    tensors |= {f"{name}.start.{k}": v for k, v in start.items()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    o = START_OPTIMIZER
    optimizer = torch.optim.AdamW(trainable, lr=1, **{k: o[k] for k in ("betas", "eps", "weight_decay")})
    losses, norms = [], []
    for lr, micro_batches in zip(o["lr"], models.STEPS):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        tokens, total = sum(models.count([rows[i] for i in m]) for m in micro_batches), 0.0
        for micro_batch in micro_batches:
            loss = sum(loss for loss, _ in models.losses_of(model, [rows[i] for i in micro_batch])) / tokens
            loss.backward()
            total += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(trainable, o["max_grad_norm"]).item())
        losses.append(total)
        optimizer.step()
    tensors |= {f"{name}.change.{k}": v - start[k] for k, v in products(model).items()}
    with torch.no_grad():
        tensors[f"{name}.logits.1"] = model(input_ids=torch.tensor([rows[1]["ids"]])).logits[0]
    if name.startswith("loftq"):
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(folder / name)
    else:
        model.save_pretrained(folder / name, path_initial_model_for_weight_conversion=str(folder / f"{name}-start"))
    shutil.rmtree(folder / f"{name}-start")
    (folder / name / "README.md").unlink(missing_ok=True)
    return {**o, "micro_batches": models.STEPS, "losses": losses, "grad_norms": norms}


def on_the_cpu(function):
    """A function of PEFT's that moves to a GPU, without that."""
    code = inspect.getsource(function).replace('"cuda"', '"cpu"').replace("@torch.no_grad()\n", "")
    exec(code, vars(loftq_utils))
    return torch.no_grad()(vars(loftq_utils)[function.__name__])


EVA_BATCHES = {"eva": [[0, 1, 2], [3, 4]], "eva-kept": [[0, 1, 2, 3, 4]]}


def make_eva(path, folder, options, rows):
    """The adapter that PEFT starts with on batches of the rows, its decompositions exact: padded on the right, learned tokens labelled."""
    eva.IncrementalPCA = lambda n_components, **_: IncrementalPCA(n_components=n_components)
    base = AutoModelForCausalLM.from_pretrained(path, attn_implementation="sdpa")
    base.config._name_or_path = base.name_or_path = "tiny-llama"
    model = get_peft_model(base, LoraConfig(lora_dropout=0.0, task_type="CAUSAL_LM", **options))
    batches = [padded([rows[i] for i in batch]) for batch in EVA_BATCHES[folder.name]]
    initialize_lora_eva_weights(model, batches, show_progress_bar=False)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def padded(rows):
    longest = max(len(row["ids"]) for row in rows)
    pad = lambda values, fill: values + [fill] * (longest - len(values))
    label = lambda row: [i if s else -100 for i, s in zip(row["ids"], row["supervised"])]
    return {"input_ids": torch.tensor([pad(row["ids"], 0) for row in rows]),
            "attention_mask": torch.tensor([pad([1] * len(row["ids"]), 0) for row in rows]),
            "labels": torch.tensor([pad(label(row), -100) for row in rows])}


def products(model):
    """scale B A of every adapted layer of the second block."""
    layers = {k: m for k, m in model.named_modules() if isinstance(m, Linear) and ".layers.1." in k}
    return {k.removeprefix("base_model.model."): m.get_delta_weight("default").detach().clone() for k, m in layers.items()}
