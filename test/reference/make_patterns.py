"""Adapters with rank_pattern and alpha_pattern on the llama3 case's model: logits, gradients, greedy tokens, merged weights, and
what add_weighted_adapter makes of them. Run by make.py after make_models, whose functions it uses."""

import shutil

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

import make_models as models

ADAPTERS = {
    # The first key that matches counts. PEFT saves keys sorted, so they are written sorted: it must read what it had.
    "qv": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
               rank_pattern={"^model.layers.1.self_attn.v_proj": 6, "self_attn.q_proj": 2, r"self_attn\.[qv]_proj": 3},
               alpha_pattern={r".*\.[02]\.self_attn\.v_proj": 3, "q_proj": 5}),
    "all": dict(r=3, lora_alpha=7, target_modules="all-linear", use_rslora=True,
                rank_pattern={"(up|gate)_proj": 5, r"model\.layers\.2\.mlp.*": 2, "o_proj": 1},
                alpha_pattern={"down_proj": 2, "layers.0.self_attn.[qk]_proj": 14, "layers.1.*": 4}),
}
COMBINED = {  # of qv (0.7) and all (-0.4), or of qv twice; ranks: 6 and 5
    "cat": dict(combination_type="cat"),
    "svd": dict(combination_type="svd", svd_rank=4),
    "linear": dict(combination_type="linear", adapters=["qv", "qv"]),
}


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "patterns"
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(200)
    models.ADAPTERS = ADAPTERS
    folder.mkdir()
    (folder / "model").symlink_to(vectors / "llama3" / "model")
    for adapter in ADAPTERS:
        models.make_adapter(folder, adapter, generator)
    rows = [row for row in models.make_rows(generator) if len(row["ids"]) < 15]
    prompt = models.find_prompt(folder, generator)
    expected, tensors = {"rows": rows, "prompt": prompt}, {}
    for adapter in ADAPTERS:
        expected[adapter] = models.measure(folder, adapter, rows, tensors)
        expected[adapter]["greedy"], expected[adapter]["smallest_margin"] = models.greedy(models.load(folder, adapter), prompt)
    merged = models.load(folder, "all", stock=True).merge_and_unload().state_dict()
    tensors |= {f"all.merged.{k}": v for k, v in merged.items() if k.endswith("_proj.weight")}
    combine(folder, tensors)
    (folder / "model").unlink()
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()}, folder / "expected.safetensors",
              metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("patterns done")


def combine(folder, tensors):
    for case, options in COMBINED.items():
        adapters = options.get("adapters", ["qv", "all"])
        model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder / "model"), folder / "qv", adapter_name="qv")
        model.load_adapter(folder / "all", adapter_name="all")
        settings = {k: v for k, v in options.items() if k != "adapters"}
        model.add_weighted_adapter(adapters, [0.7, -0.4], case, **settings)
        for key, value in get_peft_model_state_dict(model, adapter_name=case).items():
            tensors[f"{case}.combined.{key.removeprefix('base_model.model.')}"] = value.clone()
