"""AdamW on a plain vector and the warm-up schedules, from torch.optim and transformers: vectors/optimizer.json."""

import json

import torch
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

SETTINGS = [
    dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
    dict(lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.0),
    dict(lr=1e-1, betas=(0.9, 0.95), eps=1e-4, weight_decay=0.5),
]


def write(vectors):
    value = {"adamw": [adamw(s) for s in SETTINGS], "clip": [clip(n) for n in (0.5, 1.0, 100.0)], "schedules": schedules()}
    (vectors / "optimizer.json").write_text(json.dumps(value, indent=1) + "\n")
    print("optimizer done")


def adamw(settings, size=6, steps=5):
    generator = torch.Generator().manual_seed(7)
    start = torch.randn(size, generator=generator).double()
    grads = torch.randn(steps, size, generator=generator).double()
    grads[:, 0] = 0  # decays only
    grads[:, 1] *= 1e-7  # smaller than some eps
    p = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([p], **settings)
    trace = []
    for g in grads:
        p.grad = g.clone()
        optimizer.step()
        trace.append(p.detach().tolist())
    state = optimizer.state[p]
    return {**settings, "start": start.tolist(), "gradients": grads.tolist(), "parameters": trace,
            "first_moment": state["exp_avg"].tolist(), "second_moment": state["exp_avg_sq"].tolist()}


def clip(max_norm):
    generator = torch.Generator().manual_seed(8)
    params = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 4)]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    before = [p.grad.tolist() for p in params]
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm).item()
    return {"max_grad_norm": max_norm, "gradients": before, "norm": norm, "clipped": [p.grad.tolist() for p in params]}


def schedules(total=20):
    """The factor on the learning rate that optimiser step 1, 2, ... uses (index 0 is the first step)."""
    out = []
    for warmup in (0, 4):
        for name, make in {
            "constant": lambda o: get_constant_schedule_with_warmup(o, warmup),
            "linear": lambda o: get_linear_schedule_with_warmup(o, warmup, total),
            "cosine": lambda o: get_cosine_schedule_with_warmup(o, warmup, total),
        }.items():
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            schedule = make(optimizer)
            factors = []
            for _ in range(total + 1):
                factors.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            out.append({"name": name, "warmup_steps": warmup, "total_steps": total, "factors": factors})
    return out
