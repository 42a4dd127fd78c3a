"""Embeddings of models/tiny by transformers, with a PEFT adapter too: vectors/embeddings. See README.md."""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
BASE = HERE / "../../models/tiny"
FOLDER = HERE / "vectors/embeddings"


def make_adapter(generator):
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    base.config._name_or_path = base.name_or_path = "tiny"
    options = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, options)
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.data = torch.randn(p.shape, generator=generator) * (0.4 / p.shape[1] ** 0.5)
    model.save_pretrained(FOLDER / "adapter")
    (FOLDER / "adapter/README.md").unlink(missing_ok=True)


def embedding(model, ids):
    """The last hidden state (after the norm) of the last token, of length 1."""
    with torch.no_grad():
        state = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
    return torch.nn.functional.normalize(state, dim=0).tolist()


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    generator = torch.Generator().manual_seed(5)
    make_adapter(generator)
    rows = [torch.randint(3, 500, (length,), generator=generator).tolist() for length in (1, 7, 140)]
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float64)
    wanted = [{"ids": ids, "base": embedding(base, ids)} for ids in rows]
    tuned = PeftModel.from_pretrained(base, FOLDER / "adapter").double()
    for row in wanted:
        row["adapter"] = embedding(tuned, row["ids"])
    (FOLDER / "expected.json").write_text(json.dumps(wanted) + "\n")


if __name__ == "__main__":
    main()
