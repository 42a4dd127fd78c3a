"""Greedy tokens of the exported PEFT folder on the GGUF base, and of the merged folder: one JSON line.

    python consumers.py BASE_FOLDER GGUF_FILE PEFT_FOLDER HF_FOLDER PROMPT_IDS COUNT
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, gguf, adapter, merged, prompt, count = sys.argv[1:]
ids = torch.tensor([json.loads(prompt)])


def greedy(model):
    model.eval()
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=int(count), do_sample=False)
    return out[0, ids.shape[1]:].tolist()


with torch.no_grad():
    whole = AutoModelForCausalLM.from_pretrained(base, gguf_file=gguf, dtype=torch.float32)
    answers = {"PEFT": greedy(PeftModel.from_pretrained(whole, adapter))}
    answers["transformers"] = greedy(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32))
print(json.dumps(answers))
