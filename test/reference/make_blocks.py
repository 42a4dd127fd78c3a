"""Adapters whose blocks adapt different layers, on the llama3 case's model: logits, gradients, ten AdamW steps, greedy tokens and
merged weights. Run by make.py after make_models, whose functions it uses."""

import shutil

import torch
from safetensors.torch import save_file

import make_models as models

ADAPTERS = {
    "regex": dict(r=4, lora_alpha=8, rank_pattern={r"model\.layers\.1\.mlp.*": 2},
                  target_modules=r".*\.0\.self_attn\.(q|o)_proj|.*\.1\.mlp\.(up|down)_proj|.*\.2\.(self_attn\.v|mlp\.up)_proj"),
    "exclude": dict(r=3, lora_alpha=7, use_rslora=True, layers_to_transform=[0, 2],
                    target_modules=["q_proj", "v_proj", "down_proj", "model.layers.1.self_attn.k_proj"],
                    exclude_modules=["0.self_attn.v_proj", "model.layers.2.mlp.down_proj"]),
}
OPTIMIZERS = {"regex": models.OPTIMIZERS["qv"], "exclude": models.OPTIMIZERS["all"]}


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "blocks"
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(300)
    models.ADAPTERS, models.OPTIMIZERS = ADAPTERS, OPTIMIZERS
    folder.mkdir()
    (folder / "model").symlink_to(vectors / "llama3" / "model")
    for adapter in ADAPTERS:
        models.make_adapter(folder, adapter, generator)
    rows, prompt = models.make_rows(generator), models.find_prompt(folder, generator, ("base", *ADAPTERS))
    expected, tensors = {"rows": rows, "prompt": prompt}, {}
    for adapter in ADAPTERS:
        expected[adapter] = models.measure(folder, adapter, rows, tensors)
        expected[adapter]["greedy"], expected[adapter]["smallest_margin"] = models.greedy(models.load(folder, adapter), prompt)
        expected[adapter]["training"] = models.train(folder, adapter, rows, tensors)
        merged = models.load(folder, adapter, stock=True).merge_and_unload().state_dict()
        adapted = {k.split(".lora_")[0] + ".weight" for k in tensors if k.startswith(f"{adapter}.grad.model")}
        tensors |= {f"{adapter}.merged.{k}": v for k, v in merged.items() if f"{adapter}.grad.{k}" in adapted}
    (folder / "model").unlink()
    keep = {k: v for k, v in tensors.items() if ".logits." not in k or k.endswith(".1")}
    keep = {k: v for k, v in keep.items() if "inputs_embeds" not in k}
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in keep.items()}, folder / "expected.safetensors",
              metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("blocks done")
