"""Writes every reference vector of this folder: `python make.py [models|patterns|blocks|adapters|optimizer|steps|nf4|preferences|grpo|keep|distill|saved ...]` (default: all of them)."""

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes sets into its config: fix their order
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})

import importlib
import pathlib

VECTORS = pathlib.Path(__file__).parent / "vectors"

for part in sys.argv[1:] or ["models", "patterns", "blocks", "adapters", "optimizer", "steps", "nf4", "preferences", "grpo", "keep", "distill", "saved"]:
    importlib.import_module(f"make_{part}").write(VECTORS)
