"""Loads an adapter's folder over its base in PEFT and prints, as one line of JSON, each of its tensors: shape and SHA-256 of its values in float32.

    python read_in_peft.py BASE ADAPTER
"""

import hashlib
import json
import sys

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
print(
    json.dumps(
        {
            name: [list(value.shape), hashlib.sha256(value.detach().float().contiguous().numpy().tobytes()).hexdigest()]
            for name, value in get_peft_model_state_dict(model).items()
        }
    )
)
