"""Writes src/formats/fixtures/quantise.safetensors: what the gguf package's reference quantisers make of values.

    pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
    python test/reference/make_quants.py

`values` has rows of many sizes, constant rows, zeros, ties (equal magnitudes of both signs) and numbers whose scale is 0 in float16;
`<type>.raw` are its bytes as f16, bf16, q8_0, q4_0 and q4_1. The gguf package states that these equal ggml-quants.c.
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "src" / "checkpoint" / "fixtures"


def values():
    rng = np.random.default_rng(11)
    rows = [rng.standard_normal(32) * 10.0**e for e in range(-9, 4) for _ in range(8)]
    rows += [rng.integers(-8, 8, 32) * 0.25 for _ in range(12)]  # exact halves: rounding decides
    rows += [rng.integers(-127, 128, 32) / 2 for _ in range(12)]
    rows += [np.zeros(32), np.full(32, 0.3), np.full(32, -2.0), -np.arange(32), np.arange(32) + 5.0]
    rows += [np.where(np.arange(32) % 2 == 0, 1.5, -1.5), np.full(32, 1e-30)]
    return np.array(rows, dtype=np.float32).reshape(-1)


if __name__ == "__main__":
    x = values()
    tensors = {"values": x}
    for kind in (Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1):
        tensors[f"{kind.name.lower()}.raw"] = gguf.quantize(x, kind).reshape(-1).view(np.uint8).copy()
    save_file(tensors, OUT / "quantise.safetensors")
