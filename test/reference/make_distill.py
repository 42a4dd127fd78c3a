"""Distillation from the adapter `all` of two cases, whose B is not zero, to a teacher that reads more or that is another case's model: TRL's
generalized_jsd_loss on whole logits (with top_k its tail variant), and every gradient, in float64. Run by make.py after make_models."""

import json

import torch
from safetensors.torch import save_file
from trl.experimental.gkd import GKDTrainer
from trl.experimental.iw_opd.iw_opd_trainer import IWOPDTrainer

import make_models as models

ROWS, PROMPT = (0, 1, 2), [7, 41, 9, 30, 12]
CASES = [
    *({"model": m, "teacher": None, "beta": b, "temperature": t, "top_k": 0} for m in ("llama3", "gemma2") for b, t in ((0.0, 1.0), (1.0, 1.0), (0.5, 1.0), (0.3, 2.0))),
    *({"model": m, "teacher": None, "beta": 0.0, "temperature": 1.5, "top_k": 5} for m in ("llama3", "gemma2")),
    {"model": "llama3", "teacher": "bias", "beta": 0.0, "temperature": 1.0, "top_k": 0},
    {"model": "gemma2", "teacher": "llama3", "beta": 0.5, "temperature": 1.0, "top_k": 0},
    {"model": "gemma2", "teacher": "llama3", "beta": 0.0, "temperature": 1.0, "top_k": 3},
    {"model": "granite", "teacher": "gemma2", "beta": 1.0, "temperature": 1.0, "top_k": 0, "full": True},
]


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "distill"
    folder.mkdir(exist_ok=True)
    expected, tensors = {"rows": ROWS, "prompt": PROMPT, "cases": []}, {}
    for i, case in enumerate(CASES):
        rows = json.loads((vectors / case["model"] / "expected.json").read_text())["rows"]
        rows = [rows[j] for j in ROWS]
        wide = measure(vectors, case, rows, stock=False)
        stock = measure(vectors, case, rows, stock=True)
        models.agree(f"{case} gradients", wide[1].values(), stock[1].values())
        expected["cases"].append(case | wide[0])
        tensors |= {f"{i}.{k}": v.to(torch.float32).contiguous() for k, v in wide[1].items() if ".layers.1." in k or "layers" not in k}
        print(" ", case, wide[0])
    save_file(tensors, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("distill done")


def measure(vectors, case, rows, stock):
    full = case.get("full", False)
    student = models.load(vectors / case["model"], "full" if full else "all", stock=stock)
    teacher = models.load(vectors / (case["teacher"] or case["model"]), "base", stock=stock)
    trained = {k: p.requires_grad_() for k, p in student.named_parameters() if full or "lora_" in k}
    total, entropy = 0, 0
    for row in rows:
        before = [] if case["teacher"] else PROMPT
        with torch.no_grad():
            target = logits_of(teacher, [*before, *row["ids"]], row)
        own = logits_of(student, row["ids"], row)
        vocabulary = min(own.shape[-1], target.shape[-1])
        own, target = own[:, :vocabulary], target[:, :vocabulary]
        total = total + divergence(own, target, case)
        log_p = torch.log_softmax(own / case["temperature"], -1)
        entropy = entropy - (log_p.exp() * log_p).sum().item()
    loss = total / models.count(rows)
    gradients = torch.autograd.grad(loss, list(trained.values()))
    return {"loss": loss.item(), "entropy": entropy / models.count(rows)}, dict(zip(map(models.plain, trained), gradients))


def logits_of(model, ids, row):
    """At every position of the row that predicts a target; the row is the end of what is read."""
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    first = len(ids) - len(row["ids"])
    return logits[[first + i for i, s in enumerate(row["supervised"][1:]) if s]]


def divergence(own, target, case):
    options = {"beta": case["beta"], "temperature": case["temperature"]}
    if case["top_k"]:
        return IWOPDTrainer.generalized_jsd_loss(own[None], target[None], reduction="sum", top_k=case["top_k"], add_tail=True, **options)
    return GKDTrainer.generalized_jsd_loss(own[None], target[None], reduction="sum", **options)
