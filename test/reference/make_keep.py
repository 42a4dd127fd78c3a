"""Cross entropy with KL(base || model) on kept rows beside it, from the adapter `all` of two cases, whose B is not zero: both figures and every
gradient, in float64 by torch's own kl_div. Run by make.py after make_models."""

import json

import torch
from safetensors.torch import save_file

import make_models as models

CASES, WEIGHT, LEARNED, KEPT = ("llama3", "gemma2"), 0.7, (0, 1), (2, 3, 4)


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "keep"
    folder.mkdir(exist_ok=True)
    expected, tensors = {"weight": WEIGHT, "learned": LEARNED, "kept": KEPT, "cases": {}}, {}
    for name in CASES:
        rows = json.loads((vectors / name / "expected.json").read_text())["rows"]
        wide = measure(vectors / name, rows, stock=False)
        stock = measure(vectors / name, rows, stock=True)
        models.agree(f"{name} gradients", wide[1].values(), stock[1].values())
        expected["cases"][name] = wide[0]
        tensors |= {f"{name}.{k}": v.to(torch.float32) for k, v in wide[1].items() if ".layers.1." in k}
        print(" ", name, wide[0])
    save_file(tensors, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("keep done")


def measure(source, rows, stock):
    base, tuned = models.load(source, "base", stock=stock), models.load(source, "all", stock=stock)
    trained = {k: p.requires_grad_() for k, p in tuned.named_parameters() if "lora_" in k}
    learned, kept = ([rows[i] for i in which] for which in (LEARNED, KEPT))
    nll = sum(-picked(log_probabilities(tuned, row), row).sum() for row in learned)
    kl = sum(divergence(base, tuned, row) for row in kept)
    figures = [nll / models.count(learned), kl / models.count(kept)]
    gradients = torch.autograd.grad(figures[0] + WEIGHT * figures[1], list(trained.values()))
    return {"loss": figures[0].item(), "kl": figures[1].item()}, dict(zip(map(models.plain, trained), gradients))


def log_probabilities(model, row):
    """At every position that predicts a target, of the whole vocabulary."""
    logits = model(input_ids=torch.tensor([row["ids"]])).logits[0, :-1]
    return torch.log_softmax(logits, -1)[[i for i, s in enumerate(row["supervised"][1:]) if s]]


def picked(log_p, row):
    labels = torch.tensor([i for i, s in zip(row["ids"][1:], row["supervised"][1:]) if s])
    return log_p.gather(1, labels[:, None])


def divergence(base, tuned, row):
    with torch.no_grad():
        target = log_probabilities(base, row)
    return torch.nn.functional.kl_div(log_probabilities(tuned, row), target, reduction="sum", log_target=True)
