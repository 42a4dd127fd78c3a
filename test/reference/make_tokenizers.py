"""Writes tokenizers/: three small tokenizers and what tokenizers 0.23.3 and transformers 5.23.0 make of difficult text.

    pip install tokenizers==0.23.3 transformers==5.23.0 jinja2==3.1.6 && python make_tokenizers.py
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

OUT = Path(__file__).parent / "tokenizers"

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus():
    rng = random.Random(7)
    names = "Ada Grace Linus Edsger Barbara Donald Frances Alan Zürich naïve café résumé".split()
    verbs = "writes reads measures knows trains forgets answers doubts".split()
    things = "the model|a river|three numbers|12 letters|the user's question|I don't know|every assistant".split("|")
    lines = []
    for _ in range(900):
        lines.append(f"{rng.choice(names)} {rng.choice(verbs)} {rng.choice(things)}, and {rng.choice(things)}.")
        if rng.random() < 0.2:
            lines.append(f"    def f(x):\n        return x + {rng.randint(0, 999)}  # they're done\n")
    return lines


def save(name, tokenizer):
    path = OUT / f"{name}.json"
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(path))


def llama2():
    """SentencePiece behaviour: a dummy space, U+2581, byte fallback, no pre-tokenizer."""
    seed = Tokenizer(models.BPE())
    seed.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    seed.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=420, show_progress=False))
    learned = json.loads(seed.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    learned_tokens = sorted(learned["vocab"], key=learned["vocab"].get)
    tokens += [t for t in ["▁▁", "▁▁▁▁"] + learned_tokens if t != "\n"]
    known = set(tokens)
    merges = [("▁", "▁"), ("▁▁", "▁▁")] + [tuple(m) for m in learned["merges"] if "\n" not in "".join(m)]
    merges = [m for m in merges if m[0] in known and m[1] in known]
    t = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return save("llama2", t)


def byte_level(name, pre, specials, size):
    t = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=size,
            show_progress=False,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return t


def llama3():
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    t = byte_level("llama3", pre, specials, 480)
    bos = ("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))
    t.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos[0]} $A", pair=f"{bos[0]} $A {bos[0]} $B", special_tokens=[bos]),
        ]
    )
    return save("llama3", t)


def smollm2():
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return save("smollm2", byte_level("smollm2", pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], 480))


def metaspace(t):
    """llama2 as newer conversions write it (legacy=false): the same vocabulary behind a Metaspace pre-tokenizer."""
    raw = json.loads(t.to_str())
    raw["normalizer"] = None
    raw["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    return Tokenizer.from_str(json.dumps(raw))


TEXTS = [
    "",
    " ",
    "Hello world",
    " Hello  world ",
    "    indented\n\tby  tabs\r\n\r\n  and   spaces   ",
    "they're, I'LL and don't's",
    "1234567 3.14159 12 letters ٣٤٥",
    "Zürich naïve café résumé",
    "日本語のテキスト、漢字。",
    "emoji 👩‍👩‍👧 flags 🇨🇭 and 𝔘𝔫𝔦",
    "e\u0301 decomposed, \u00a0nbsp\u2003em space, \ufeffbom, \u0085nel",
    "x" * 40,
    "\u2581mark and ▁▁ marks",
    "a<0x41>b <0xE2>",
    "null\u0000byte and \u001b[31mescape",
    "Ada writes the model, and I don't know.",
    "ﬁ ligature ½ ² ǆ",
    "four    ½ cups \ufeff0",
    "مرحبا بالعالم שלום",
    "    def f(x):\n        return x + 41  # they're done\n",
]


def vectors(t, specials):
    texts = TEXTS + [
        f"{specials[0]}Hello{specials[-1]}",
        f"Hello {specials[-1]} world {specials[-1]}{specials[-1]}\nend",
        f"{specials[-1]} 4",
    ]
    rows = []
    for text in texts:
        plain = t.encode(text, add_special_tokens=False)
        rows.append(
            {
                "text": text,
                "ids": plain.ids,
                "with_special": t.encode(text).ids,
                "offsets": plain.offsets,
                "decoded": t.decode(plain.ids, skip_special_tokens=True),
                "decoded_all": t.decode(plain.ids, skip_special_tokens=False),
            }
        )
    return rows


CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GENERATION = """{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
        {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is defined and tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n" + (t | tojson) + "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if 'tool_calls' in message %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {{- (message.tool_calls[0].function | tojson) + "<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

TURNS = [
    {"role": "user", "content": " Who is Ada?\n"},
    {"role": "assistant", "content": "Ada writes <b>numbers</b>. \n\nWhy?"},
    {"role": "user", "content": "Zürich & \"quotes\" 👩‍👩‍👧"},
    {"role": "assistant", "content": "I don't know."},
]
SYSTEM = [{"role": "system", "content": "Be brief. "}]
TOOLS = [{"type": "function", "function": {"name": "tide", "parameters": {"where": "Zürich <1>", "n": 1.5, "ok": True, "x": None}}}]


def chats(tokenizers):
    cases = [
        ("smollm2", "chatml", CHATML, "<|im_start|>", "<|im_end|>"),
        ("smollm2", "generation", GENERATION, "<|im_start|>", "<|im_end|>"),
        ("llama2", "llama2", LLAMA2, "<s>", "</s>"),
        ("llama3", "llama3", LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
        ("llama2", "zephyr", ZEPHYR, "<s>", "</s>"),
    ]
    rows = []
    for tokenizer, name, template, bos, eos in cases:
        hf = PreTrainedTokenizerFast(tokenizer_object=tokenizers[tokenizer], bos_token=bos, eos_token=eos, chat_template=template)
        renders = []
        for messages in [TURNS, SYSTEM + TURNS, TURNS[:3], SYSTEM + TURNS[:1]]:
            for prompt in [False, True]:
                options = {"add_generation_prompt": prompt}
                if name == "llama3" and prompt:
                    options["tools"] = TOOLS
                row = {"messages": messages, **options}
                row["text"] = hf.apply_chat_template(messages, tokenize=False, **options)
                row["ids"] = hf.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]
                if name == "generation":
                    row["assistant"] = hf.apply_chat_template(
                        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **options
                    )["assistant_masks"]
                renders.append(row)
        rows.append({"tokenizer": tokenizer, "name": name, "template": template, "bos": bos, "eos": eos, "renders": renders})
    return rows


def main():
    OUT.mkdir(exist_ok=True)
    built = {"llama2": llama2(), "llama3": llama3(), "smollm2": smollm2()}
    specials = {
        "llama2": ["<s>", "</s>"],
        "llama3": ["<|begin_of_text|>", "<|eot_id|>"],
        "smollm2": ["<|im_start|>", "<|im_end|>"],
    }
    encodings = {name: vectors(t, specials[name]) for name, t in built.items()}
    encodings["metaspace"] = vectors(metaspace(built["llama2"]), specials["llama2"])
    expected = {"encodings": encodings, "chats": chats(built)}
    (OUT / "expected.json").write_text(json.dumps(expected, ensure_ascii=True, separators=(",", ":")) + "\n")


main()
