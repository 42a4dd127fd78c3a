"""Writes src/data/fixtures/: rows in the shapes that datasets have, with what transformers and TRL make of them, and Parquet
files by pyarrow.

    .venv/bin/pip install -r test/reference/requirements.txt trl pyarrow
    .venv/bin/python test/reference/make_rows.py
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast
from trl.data_utils import apply_chat_template

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "src" / "data" / "fixtures"

TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name %} ({{ m.name }}){% endif %}{{ '\\n' }}"
    "{% if m.content %}{{ m.content }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}"
    "{% if m.function_call %}{{ m.function_call.name }}({{ m.function_call.arguments }}){% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=str(HERE / "tokenizers" / "smollm2.json"), bos_token="<|im_start|>", eos_token="<|im_end|>"
)
tokenizer.chat_template = TEMPLATE

TOOL = {
    "type": "function",
    "function": {
        "name": "ferry",
        "description": "Next ferry to an island",
        "parameters": {"type": "object", "properties": {"island": {"type": "string"}}, "required": ["island"]},
    },
}


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(island):
    return {"type": "function", "function": {"name": "ferry", "arguments": {"island": island}}}


ASK, ANSWER = user("Next ferry to Texel?"), assistant("At nine.")
CALLED = [ASK, {"role": "assistant", "content": None, "tool_calls": [call("Texel")]}, {"role": "tool", "content": "9:00"}, ANSWER]

# name, the row, and the messages and tools that it stands for
CHATS = [
    ("system beside messages", {"system": "Be brief.", "messages": [ASK, ANSWER]}, [system("Be brief."), ASK, ANSWER], None),
    ("tools as a list", {"messages": CALLED, "tools": [TOOL]}, CALLED, [TOOL]),
    ("tools as JSON text", {"messages": CALLED, "tools": json.dumps([TOOL])}, CALLED, [TOOL]),
    (
        "ShareGPT with system, tools and a call",
        {
            "system": "Be brief.",
            "tools": json.dumps([TOOL]),
            "conversations": [
                {"from": "human", "value": ASK["content"]},
                {"from": "function_call", "value": json.dumps({"name": "ferry", "arguments": {"island": "Texel"}})},
                {"from": "observation", "value": "9:00"},
                {"from": "gpt", "value": ANSWER["content"]},
            ],
        },
        [system("Be brief."), *CALLED],
        [TOOL],
    ),
    (
        "function_call, a function's result and null",
        {
            "messages": [
                ASK,
                {"role": "assistant", "content": None, "function_call": {"name": "ferry", "arguments": '{"island": "Texel"}'}},
                {"role": "function", "name": "ferry", "content": "9:00"},
                ANSWER,
            ]
        },
        None,
        None,
    ),
    ("a developer and names", {"messages": [{"role": "developer", "content": "Be brief."}, user("Hi", name="Ada"), ANSWER]}, None, None),
    (
        "content in parts",
        {
            "messages": [
                user([{"type": "text", "text": "Next ferry"}, {"type": "input_text", "text": " to Texel?"}]),
                assistant([{"type": "output_text", "text": "At "}, {"type": "text", "text": "nine."}]),
            ]
        },
        [user("Next ferry\n to Texel?"), assistant("At \nnine.")],  # each part begins a line
        None,
    ),
    (
        "nulls and a refusal",
        {"messages": [user("Sink it.", name=None), assistant(None, refusal="I cannot.", tool_calls=None, function_call=None)]},
        [user("Sink it."), assistant("I cannot.")],
        None,
    ),
    (
        "Alpaca with system and history",
        {"instruction": "And back?", "input": "Texel", "output": "At ten.", "system": "Be brief.", "history": [["Out?", "At nine."]]},
        [system("Be brief."), user("Out?"), ANSWER, user("And back?\nTexel"), assistant("At ten.")],
        None,
    ),
]

# TRL's prompt and completion: its own text of the two, and of the completion what the loss is taken on
PAIRS = [
    ("one answer", {"prompt": [ASK], "completion": [ANSWER]}),
    ("an answer before", {"prompt": [ASK, ANSWER, user("And back?")], "completion": [assistant("At ten.")]}),
    ("a system prompt and tools", {"prompt": [system("Be brief."), ASK], "completion": [ANSWER], "tools": [TOOL]}),
    ("a call before", {"prompt": CALLED[:-1], "completion": CALLED[-1:], "tools": json.dumps([TOOL])}),
]


def ids(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def write_rows():
    rows = []
    for name, row, messages, tools in CHATS:
        text = tokenizer.apply_chat_template(messages or row["messages"], tools=tools, tokenize=False)
        rows.append({"name": name, "row": row, "text": text, "ids": ids(text)})
    for name, row in PAIRS:
        tools = row.get("tools")
        parsed = {**row, **({"tools": json.loads(tools)} if isinstance(tools, str) else {})}
        given = {key: value for key, value in parsed.items() if key != "tools"}
        pair = apply_chat_template(given, tokenizer, tools=parsed.get("tools"))
        text = pair["prompt"] + pair["completion"]
        rows.append({"name": f"prompt and completion: {name}", "row": row, "text": text, "ids": ids(text), "completion": pair["completion"]})
    (OUT / "rows.json").write_text(json.dumps({"template": TEMPLATE, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


def write_parquet():
    texts = pa.table({"prompt": ["Zürich?", "漢?"], "completion": [" Ja.", " Nein."], "id": pa.array([1, 2**60], pa.int64())})
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        pq.write_table(texts, OUT / f"texts-{codec}.parquet", compression=codec)
    rows = [
        {"messages": [ASK, ANSWER], "tools": None, "note": None},
        {"messages": [user("Hi", name="Ada"), ANSWER], "tools": [TOOL], "note": "x"},
        {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [call("Texel")]}, ANSWER], "tools": [TOOL], "note": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), OUT / "messages.parquet", row_group_size=2)


OUT.mkdir(exist_ok=True)
write_rows()
write_parquet()
