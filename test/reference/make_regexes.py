"""Writes tokenizers/regexes.json: what Oniguruma (in tokenizers 0.23.3) and Python's re make of expressions.

    pip install tokenizers==0.23.3 && python make_regexes.py
"""

import json
import re
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

OUT = Path(__file__).parent / "tokenizers" / "regexes.json"

TEXTS = [
    "aaab aab ab b",
    "Hello, World! it's I'LL 'ſ 'K 12345 x1y22",
    "tab\tnew\nline\r\n\r\nend \n",
    "naïve Ünïcode 日本語 ½ ² Ⅷ ٣ _under-score",
    "  two   three    ",
    "foo.bar[baz]{1} (x|y) a+b c*d \\ ^ $",
    "\u0085nel \u00a0nbsp \u2028 \u200b \ufeff",
    "𝔘𝔫𝔦 👩‍👩‍👧 a👍b",
    "aAbBcC ZzZ",
    "",
]

ONIGURUMA = [
    r"a+", r"a*", r"a?b", r"a+?b", r"a*?", r"a{2}", r"a{2,}", r"a{,2}b", r"a{1,2}?b", r"a{2}?", r"a{1,2}+", r"a++b", r"a*+a",
    r"(?>a+|a)b", r"(a|ab)(c|bcd)?", r"(?:a|b)*", r"(a*)*b", r"(a+)+!", r"(?:aa|a)+b", r"x*",
    r"\s+(?!\S)|\s+", r"\S+(?=\s)", r"(?<=a)b", r"(?<!a)b", r"(?<=a|bb)\w", r"(?<![a-z])[a-z]",
    r"\w+", r"\W+", r"\d+", r"\D", r"\h+", r"\b", r"\bx", r"\B\w", r"^.", r".$", r"\A\w", r"\w\z", r"\s\Z", r"^$", r".", r"[^\n]+",
    r"\p{L}+", r"\P{L}", r"\p{^L}+", r"\p{Lu}\p{Ll}*", r"\p{Han}+", r"\p{Greek}", r"\p{Alpha}+", r"\p{Space}", r"\p{N}{1,3}",
    r"[[:alpha:]]+", r"[[:^space:]]+", r"[[:digit:]_]+", r"[a-c&&b-z]", r"[^a-z&&\w]", r"[a[x-z]]+", r"[]a]+", r"[a-]+", r"[\]\\^-]",
    r"[\x41-\x5a]", r"\x{1F44D}", r"\u0061", r"[\t\n]+", r"\r?\n", r"(?i:hello)", r"(?i:'[sk]|'ll)", r"(?i:[a-c]+)", r"(?i:a(?-i:b))",
    r"(?<name>a)b", r"a(?=b(?=\s))", r"a(?!b(?!\s))", r"\$|\^|\.", r"a{", r"a{x}", r"|a", r"a|", r"(?:)", r"[^\s\p{L}\p{N}]+",
    r"(?:[^a]|a(?=b))+", r"(?:(?:a|b)(?:a|b))+?b", r"\p{Lu}*?b",
]

PYTHON = [
    r"a+b", r".*b", r".*\.(q|k)_proj", r"(?i)HELLO.*", r"[^ab]+", r"\w+", r"(?:a|ab)(?:c|bcd)?", r"a{,2}b", r"a{2,3}?b", r"a++b", r"a?+ab",
    r"(?P<x>a)b", r"(?=a)\w+", r"(?!a).*", r".*(?<=b)", r".*(?<!b)", r"\Aa.*\Z", r"^a.*$", r"a.*$\n?", r"\d+\.\d+", r"\bab\b", r"[\w.]+",
    r"(a|b)*", r"(a*)*", r"model\.layers\.(0|[1-9]\d*)\..*", r"(?:.*\.)?self_attn\.[qkvo]_proj", r"(?>a+)b", r"[]a]+", r"\S+", r"a|b|",
]
PYTHON_TEXTS = TEXTS + [
    "aab", "ab", "b", "a", "abab", "hello you", "1.5", "model.layers.10.self_attn.q_proj", "model.layers.010.mlp.up_proj",
    "model.layers.3.self_attn.k_proj", "ab\n", "abcd", "]a",
]


def spans(pattern, text):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return [list(span) for _, span in split.pre_tokenize_str(text)]


def main():
    oniguruma = [{"pattern": p, "spans": [spans(p, t) for t in TEXTS]} for p in ONIGURUMA]
    python = [{"pattern": p, "whole": [bool(re.fullmatch(p, t)) for t in PYTHON_TEXTS]} for p in PYTHON]
    made = {"texts": TEXTS, "oniguruma": oniguruma, "python_texts": PYTHON_TEXTS, "python": python}
    OUT.write_text(json.dumps(made, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")


main()
