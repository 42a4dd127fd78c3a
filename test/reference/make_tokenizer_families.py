"""Writes tokenizers/families.json: small tokenizers in the manner of published families, and what tokenizers 0.23.3 makes of
difficult text with each.

    pip install tokenizers==0.23.3 && python make_tokenizer_families.py
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).parent / "tokenizers" / "families.json"

WORDS = "'s|'t|'re|'ve|'m|'ll|'d"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
LLAMA3 = rf"(?i:{WORDS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{OTHERS}"
QWEN = rf"(?i:{WORDS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{OTHERS}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|"
GPT4O = "|".join(
    [
        rf"{LEAD}{UPPER}*{LOWER}+(?i:{WORDS})?",
        rf"{LEAD}{UPPER}+{LOWER}*(?i:{WORDS})?",
        r"\p{N}{1,3}",
        PUNCTUATION + SPACES,
    ]
)
TEKKEN = "|".join([rf"{LEAD}{UPPER}*{LOWER}+", rf"{LEAD}{UPPER}+{LOWER}*", r"\p{N}", PUNCTUATION + SPACES])
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    + SPACES,
]
POSSESSIVE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"


def corpus():
    rng = random.Random(11)
    names = "Ada Grace Linus Zürich naïve café résumé Ångström Straße Οδυσσέας Москва".split()
    verbs = "writes reads measures knows trains forgets answers doubts WRITES".split()
    things = "the model|a river|three numbers|12 letters|the user's question|I don't know|日本語の漢字|한국어 단어|مرحبا".split("|")
    lines = []
    for _ in range(700):
        lines.append(f"{rng.choice(names)} {rng.choice(verbs)} {rng.choice(things)}, and {rng.choice(things)}.")
        if rng.random() < 0.2:
            lines.append(f"    def f(x):\n        return x + {rng.randint(0, 999)}  # they're done\n")
    return lines


def added(content, special=True, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": content, "special": special, **plain, **flags}


def finish(tokenizer, tokens=(), **parts):
    """Puts parts and added tokens into a trained tokenizer's JSON; ids go on from the vocabulary."""
    raw = json.loads(tokenizer.to_str())
    raw.update(parts)
    known = raw["model"]["vocab"]
    listed = {token["content"] for token in raw["added_tokens"]}
    count = len(known)
    for token in tokens:
        if token["content"] in listed:
            continue
        id = known.get(token["content"])
        if id is None:
            id, count = count, count + 1
        raw["added_tokens"].append({"id": id, **token})
    return raw


def byte_level(splits, size=420, specials=("<|end|>",), normalizer=None, digits=None, **options):
    t = Tokenizer(models.BPE(**options))
    steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in splits]
    if digits is not None:
        steps.append(pre_tokenizers.Digits(individual_digits=digits))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not splits))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=size, show_progress=False, special_tokens=list(specials), initial_alphabet=alphabet
        ),
    )
    return t


def marked(size=420, runs=(), fallback=True, fuse=True):
    """A SentencePiece vocabulary: bytes, runs of marks, and merges that were learned with a mark before each word."""
    seed = Tokenizer(models.BPE())
    seed.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    seed.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, show_progress=False))
    learned = json.loads(seed.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if fallback else []) + list(runs)
    tokens += [t for t in sorted(learned["vocab"], key=learned["vocab"].get) if "\n" not in t]
    merges = [(a[: len(a) // 2], a[len(a) // 2 :]) for a in runs]
    merges += [tuple(m) for m in learned["merges"] if "\n" not in "".join(m)]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [m for m in merges if m[0] in vocab and m[1] in vocab and "".join(m) in vocab]
    return Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=fuse, byte_fallback=fallback)
    )


LLAMA_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
GEMMA_DECODER = {"type": "Sequence", "decoders": LLAMA_DECODER["decoders"][:3]}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
CONTROLS = [added("<unk>"), added("<s>"), added("</s>")]
BOS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def sequence(*steps):
    return {"type": "Sequence", "normalizers": [step if isinstance(step, dict) else {"type": step} for step in steps]}


def families():
    runs = ["▁▁", "▁▁▁▁"]
    llama = marked(runs=runs)
    norm = {"normalizer": PREPEND, "decoder": LLAMA_DECODER, "post_processor": BOS}
    yield "llama2", finish(llama, CONTROLS, **norm)
    yield "phi3", finish(
        llama, CONTROLS + [added("<|end|>", rstrip=True), added("<|user|>", rstrip=True), added("<|pad|>")], **norm
    )
    flags = [
        added("word", False, normalized=True, single_word=True),
        added("Tool", False, normalized=True),
        added("<x>", False, normalized=True, lstrip=True),
        added("<y>", False, lstrip=True, rstrip=True),
        added("  ", False),
        added("<0x0A>", False),
        added("▁mark", False),
    ]
    yield "llama2-added", finish(llama, CONTROLS + flags, **norm)
    for scheme in ["always", "first", "never"]:
        for split in [False, True]:
            parts = {"pre_tokenizer": metaspace(scheme, split), "decoder": metaspace(scheme, split)}
            yield f"metaspace-{scheme}-{'split' if split else 'whole'}", finish(llama, CONTROLS + flags, **parts)
    yield "gemma", finish(
        marked(runs=runs, fuse=False),
        CONTROLS + [added("\n", False), added("\n\n", False), added("▁▁", False), added("<start_of_turn>")],
        normalizer=REPLACE,
        pre_tokenizer={
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        decoder=GEMMA_DECODER,
    )
    unknown = marked(fallback=False)
    yield "nfkc-unknown-fused", finish(
        unknown, CONTROLS, normalizer=sequence("NFKC", "Lowercase", PREPEND), decoder=LLAMA_DECODER
    )
    yield "unknown-apart", finish(marked(fallback=False, fuse=False), CONTROLS, **norm)
    yield "nmt", finish(llama, CONTROLS, normalizer=sequence("Nmt", "NFKC", PREPEND), decoder=LLAMA_DECODER)
    yield "accents", finish(
        llama,
        CONTROLS + [added("Café", False, normalized=True)],
        normalizer=sequence("NFD", "StripAccents", {"type": "Strip", "strip_left": True, "strip_right": True}, PREPEND),
        decoder=LLAMA_DECODER,
    )
    runs_of_spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    yield "replace-regex", finish(
        llama, CONTROLS, normalizer=sequence("NFKD", runs_of_spaces, PREPEND), decoder=LLAMA_DECODER
    )
    yield "gpt2", finish(byte_level([]), [added("<|pad|>")])
    yield "smollm2", finish(byte_level([], digits=True), [added("<|im_start|>"), added("<|im_end|>")])
    yield "digits-together", finish(byte_level([], digits=False))
    yield "llama3", finish(byte_level([LLAMA3], ignore_merges=True), [added("<|eot_id|>"), added("<|python|>", lstrip=True)])
    yield "qwen", finish(
        byte_level([QWEN], normalizer=normalizers.NFC()),
        [added("<|im_start|>"), added("<tool>", False), added("ё", False, normalized=True)],
    )
    yield "gpt4o", finish(byte_level([GPT4O]))
    yield "tekken", finish(byte_level([TEKKEN], ignore_merges=True))
    yield "deepseek", finish(byte_level(DEEPSEEK), [added("<｜end▁of▁sentence｜>"), added("<think>", False, normalized=True)])
    yield "possessive", finish(byte_level([POSSESSIVE]))
    yield "prefix-space", finish(
        byte_level([]), [added("<x>")], pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    )
    before = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": False}
    threes = {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": False}
    yield "falcon", finish(byte_level([]), pre_tokenizer={"type": "Sequence", "pretokenizers": [before, digits, threes]})
    yield "byte-normalizer", finish(
        byte_level([]), [added("naïve", False, normalized=True)], normalizer={"type": "ByteLevel"}, pre_tokenizer=None
    )
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            split = {"type": "Split", "pattern": {"Regex": r"[aeiou]|\s"}, "behavior": behavior, "invert": invert}
            yield f"split-{behavior}-{invert}", finish(
                byte_level([]),
                pre_tokenizer={"type": "Sequence", "pretokenizers": [split, {**before, "use_regex": False}]},
            )
    for kind in ["Whitespace", "WhitespaceSplit"]:
        yield kind, finish(llama, CONTROLS, pre_tokenizer={"type": kind}, decoder=LLAMA_DECODER)
    gaps = Tokenizer(models.BPE())
    gaps.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gaps.decoder = decoders.ByteLevel()
    gaps.train_from_iterator(["abc abcd zebra"], trainers.BpeTrainer(vocab_size=40, show_progress=False))
    yield "bytes-missing", finish(gaps)


TEXTS = [
    "",
    " ",
    "   ",
    "Hello world",
    " Hello  world ",
    "    indented\n\tby  tabs\r\n\r\n  and   spaces   ",
    "they're, I'LL, DON'T, don't's 'ſ and 'K",
    "1234567 3.14159 12 letters ٣٤٥ ½² Ⅷ 1e5",
    "Zürich naïve café résumé STRASSE Straße ΟΔΥΣΣΕΑΣ İstanbul",
    "Zu\u0308rich nai\u0308ve cafe\u0301 re\u0301sume\u0301 A\u030a \u212b \u1e69 s\u0323\u0307 s\u0307\u0323 q\u0307\u0323",
    "日本語のテキスト、漢字。ｶﾞｷﾞ ｱｲｳ カ\u3099 ㌔ ㈱ ①",
    "한국어 \u1112\u1161\u11ab\u1100\u116e\u11a8 ㅋㅋㅋ ㄱㅏ",
    "emoji 👩‍👩‍👧 flags 🇨🇭 and 𝔘𝔫𝔦 👍🏽",
    "e\u0301 decomposed, \u00a0nbsp\u2003em space, \ufeffbom, \u0085nel \u200bzero \u2028line",
    "x" * 60 + "aeiou" * 20,
    "\u2581mark and ▁▁ marks ▁ alone ▁▂▃▄▅▆▇█ 87% ▁",
    "▁▁",
    " ▁ ",
    "a<0x41>b <0xE2><0x0A>",
    "null\u0000byte and \u001b[31mescape \u0007\u007f\u009f\x0b\x0c",
    "Ada writes the model, and I don't know.",
    "ﬁ ligature ½ ² ǆ ﬃ ™ … ‥",
    "four    ½ cups \ufeff0",
    "مرحبا بالعالم שלום हिन्दी ภาษาไทย ไทย ქართული",
    "    def f(x):\n        return x + 41  # they're done\n",
    "a word sword word. words wordé word_ _word (word)",
    "Tool  tool toolTool<x>  <x>\n<x>",
    "one <y> two  <y>\n\tthree<y>",
    "\n\n\n\nlines\n\n \n",
    "<s>Hello</s> <unk>  <s>",
    "<|end|>  after <|user|>\n\nx<|end|><|end|> <|eot_id|> <|python|>",
    "<|im_start|>user\nHi<|im_end|>\n<tool> <｜end▁of▁sentence｜><think>",
    "Café CAFÉ Cafe\u0301 café ё е\u0308",
    "ZZZ999zzz aAaA AaAa CamelCaseWORDSandMore",
    "abc abcd zebra abz azb",
    "\u0301\u0301 leading marks \u0300",
    "a\u0315\u0300\u05ae\u0301b \u0f71\u0f72 \u0344 \u0340 \u2126",
    "\U00011382\U000113c9 \U000105d2\u0307 \U00016d67 \U0001fbf3 \ua7f1 \U000323b0 ʕ \u1acf \U0001e030",
    "end of text \u00a0",
    "a" * 300 + "▁" * 50 + " " * 70 + "日" * 90,
]


def rows(raw):
    t = Tokenizer.from_str(json.dumps(raw))
    for text in TEXTS:
        plain = t.encode(text, add_special_tokens=False)
        row = {
            "ids": plain.ids,
            "with_special": t.encode(text).ids,
            "offsets": plain.offsets,
            "decoded": t.decode(plain.ids, skip_special_tokens=True),
            "decoded_all": t.decode(plain.ids, skip_special_tokens=False),
        }
        # what is not there is the same as: ids, decoded, the text
        for key, same in [("with_special", plain.ids), ("decoded_all", row["decoded"]), ("decoded", text)]:
            if row[key] == same:
                del row[key]
        yield row


def main():
    made = [{"name": name, "json": raw, "rows": list(rows(raw))} for name, raw in families()]
    text = json.dumps({"texts": TEXTS, "families": made}, ensure_ascii=True, separators=(",", ":"))
    OUT.write_text(text + "\n", encoding="utf-8")


main()
