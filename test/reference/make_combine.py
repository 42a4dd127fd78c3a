"""Writes src/formats/fixtures/combine.safetensors: what PEFT's add_weighted_adapter makes of two adapters.

    pip install -r test/reference/requirements.txt
    python test/reference/make_combine.py

`one.*` (r 4, alpha 6, on q and v) and `two.*` (r 4, alpha 8 with rsLoRA, on q and down) are the adapters' tensors, `three.*`
has r 2; `<case>.*` what came out of one and two (or one and three) with the weights 0.7 and -0.4. dare_* run at density 1,
where nothing is drawn.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import ModelConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parents[2] / "src" / "checkpoint" / "fixtures"
WEIGHTS = [0.7, -0.4]
ADAPTERS = {
    "one": dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    "two": dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], use_rslora=True),
    "three": dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"]),
}
CASES = {
    "linear": dict(),
    "cat": dict(),
    "svd": dict(svd_rank=3),
    "ties": dict(density=0.5),
    "ties_frequency": dict(density=0.8, majority_sign_method="frequency"),
    "dare_linear": dict(density=1.0),
    "dare_ties": dict(density=1.0),
    "magnitude_prune": dict(density=0.3),
    "cat_ranks": dict(adapters=["one", "three"]),
    "svd_ranks": dict(adapters=["one", "three"]),
}


def main():
    torch.manual_seed(5)
    config = ModelConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = None
    for name, settings in ADAPTERS.items():
        lora = LoraConfig(task_type="CAUSAL_LM", **settings)
        if model is None:
            model = get_peft_model(LlamaForCausalLM(config), lora, adapter_name=name)
        else:
            model.add_adapter(name, lora)
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data = torch.randn_like(value)
    tensors = {}

    def keep(case, adapter):
        for key, value in get_peft_model_state_dict(model, adapter_name=adapter).items():
            tensors[f"{case}.{key.removeprefix('base_model.model.')}"] = value.clone().contiguous()

    for name in ADAPTERS:
        keep(name, name)
    for case, settings in CASES.items():
        settings = dict(settings)
        adapters = settings.pop("adapters", ["one", "two"])
        kind = case.removesuffix("_frequency").removesuffix("_ranks")
        model.add_weighted_adapter(adapters, WEIGHTS, case, combination_type=kind, **settings)
        keep(case, case)
    save_file(tensors, OUT / "combine.safetensors")


if __name__ == "__main__":
    main()
