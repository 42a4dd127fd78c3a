"""Writes tokenizers/tables.json: digests of what tokenizers 0.23.3 makes of every character.

    pip install tokenizers==0.23.3 && python make_tokenizer_tables.py
"""

import hashlib
import json
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers

OUT = Path(__file__).parent / "tokenizers" / "tables.json"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NORMALIZERS = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]
CLASSES = ["L", "N", "M", "P", "S", "Ll"]
ESCAPES = [r"\s", r"\w"]


def normalized(normalizer):
    """NUL before each character, which joins none to the one before it."""
    made = hashlib.sha256()
    for start in range(0, len(POINTS), 4096):
        text = "".join("\0" + chr(c) for c in POINTS[start : start + 4096])
        made.update(normalizer.normalize_str(text).encode())
    return made.hexdigest()


def members(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return hashlib.sha256(bytes(split.pre_tokenize_str(chr(c)) == [] for c in POINTS)).hexdigest()


def main():
    made = {
        "normalizers": {name: normalized(getattr(normalizers, name)()) for name in NORMALIZERS},
        "classes": {name: members(name) for name in [rf"\p{{{c}}}" for c in CLASSES] + ESCAPES},
    }
    OUT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


main()
