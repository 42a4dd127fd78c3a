"""DiLoCo by PyTorch: two ranks take AdamW steps of their own, and meet by torch.optim.SGD with Nesterov momentum (arXiv 2311.08105,
algorithm 1). Writes vectors/local-steps.json: what each rank came to before a meeting, and what all go on from after it."""

import json
import os

import torch

torch.manual_seed(3)
RANKS, ROUNDS, STEPS = 2, 3, 2
SHAPES = {"a": [3, 4], "b": [4]}

agreed = {name: torch.randn(shape) for name, shape in SHAPES.items()}
start = {name: value.clone() for name, value in agreed.items()}
outer = torch.optim.SGD([p.requires_grad_() for p in agreed.values()], lr=0.7, momentum=0.9, nesterov=True)
ranks = [{name: value.detach().clone().requires_grad_() for name, value in agreed.items()} for _ in range(RANKS)]
inner = [torch.optim.AdamW(own.values(), lr=1e-2, weight_decay=0.01) for own in ranks]

rounds = []
plain = lambda tensors: {name: value.detach().flatten().tolist() for name, value in tensors.items()}
for _ in range(ROUNDS):
    for own, optimizer in zip(ranks, inner):
        for _ in range(STEPS):
            for value in own.values():
                value.grad = torch.randn_like(value)
            optimizer.step()
    came_to = [plain(own) for own in ranks]
    for name, value in agreed.items():
        value.grad = torch.stack([value.detach() - own[name].detach() for own in ranks]).mean(0)
    outer.step()
    for own in ranks:
        for name, value in own.items():
            value.data.copy_(agreed[name].detach())
    rounds.append({"ranks": came_to, "agreed": plain(agreed)})

path = os.path.join(os.path.dirname(__file__), "vectors", "local-steps.json")
with open(path, "w") as file:
    json.dump({"shapes": SHAPES, "start": plain(start), "rounds": rounds}, file)
    file.write("\n")
