"""Chat templates as transformers renders them, for src/tokenizers/jinja.

    pip install -r test/reference/requirements.txt
    python test/reference/make_jinja.py

Reads jinja/expressions.txt (one expression a line), jinja/statements.json and the templates in jinja/families/, all in our own
words, and writes vectors/jinja.json: for each, the text or the name of the error that transformers' own template code (jinja2's
ImmutableSandboxedEnvironment) gives. The families are rendered with each conversation of `CHATS`.
"""

import json
import re
from pathlib import Path

import jinja2
import transformers
from transformers.utils.chat_template_utils import _alias_reasoning_fields, _compile_jinja_template

HERE = Path(__file__).parent

# JSON text, not Python: the tests read it by their own reader
VARIABLES = """{
  "row": {"a": 1, "b": [1, 2.5, 1.0, 1e-05, 1e16, true, null, "x"], "c": {"10": "ten", "2": "two"}, "items": 3},
  "text": "  Hello, wide World! \\n", "wide": "a\U0001F600b\U0001F601",
  "people": [{"name": "Ann", "age": 31, "tags": ["x", "y"]}, {"name": "bob", "age": 25, "tags": []}, {"name": "Cid", "age": 31}],
  "big": 123456789012345678901234567890, "f": 3.0, "n": null, "yes": true,
  "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <there> & \\"you\\""},
    {"role": "assistant", "content": "Hello.\\n"}]
}"""

TOOLS = """[{"type": "function", "function": {"name": "tide", "description": "High tide of a harbour", "parameters": {"type": "object",
  "properties": {"harbour": {"type": "string", "enum": ["Brest", "Vigo"]}, "days": {"type": "integer", "default": 1.0, "minimum": 1}},
  "required": ["harbour"]}}}]"""

CHATS = """[
  {"messages": [{"role": "user", "content": "When is high tide?"}]},
  {"messages": [{"role": "system", "content": "  Be brief.\\n"}, {"role": "user", "content": " Hi "}, {"role": "assistant", "content": " Hello. "}]},
  {"messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "Two"},
    {"role": "assistant", "content": "2"}, {"role": "user", "content": "<Three> & \\"more\\" \u00e9\U0001F30A"}]},
  {"messages": [{"role": "user", "content": "Tide?"}, {"role": "assistant", "content": "<think>\\nBrest, then.\\n</think>\\n\\nAt noon."},
    {"role": "user", "content": "Thanks"}]},
  {"messages": [{"role": "user", "content": "Tide?"}, {"role": "assistant", "reasoning_content": "Brest, then.", "content": "At noon."}]},
  {"messages": [{"role": "user", "content": "Tide in Brest?"}, {"role": "assistant", "tool_calls": [{"id": "call00001", "type": "function",
    "function": {"name": "tide", "arguments": {"harbour": "Brest", "days": 2.0}}}]}, {"role": "tool", "name": "tide", "tool_call_id":
    "call00001", "content": "noon"}, {"role": "assistant", "content": "At noon."}], "tools": TOOLS},
  {"messages": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Tide?"}], "tools": TOOLS},
  {"messages": [{"role": "user", "content": [{"type": "text", "text": "Part one, "}, {"type": "text", "text": "part two"}]}]},
  {"messages": [{"role": "assistant", "content": "First."}, {"role": "user", "content": "Second?"}]},
  {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
]""".replace("TOOLS", TOOLS)

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def render(template, variables):
    try:
        return {"text": _compile_jinja_template(template).render(**variables)}
    except Exception as error:  # every way to fail is a result
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"raised": str(error)} if raised else {"error": type(error).__name__}


def addressless(result):
    """Nothing that shows an address in memory, or is random."""
    return not re.search(r" at 0x[0-9a-f]+>", result.get("text", ""))


def family(path):
    template = path.read_text(encoding="utf-8")
    renders = []
    for chat in json.loads(CHATS):
        messages = _alias_reasoning_fields(chat["messages"])
        for generation in (False, True):
            variables = {"messages": messages, "tools": chat.get("tools"), "documents": None, "add_generation_prompt": generation}
            renders.append(render(template, {**TOKENS, **variables}))
    return {"name": path.stem, "template": template, "renders": renders}


def main():
    variables = json.loads(VARIABLES)
    lines = (HERE / "jinja/expressions.txt").read_text(encoding="utf-8").splitlines()
    templates = ["{{ %s }}" % line for line in lines] + json.loads((HERE / "jinja/statements.json").read_text(encoding="utf-8"))
    table = [[template, render(template, variables)] for template in templates]
    vectors = {
        "made_with": {"jinja2": jinja2.__version__, "transformers": transformers.__version__},
        "variables": VARIABLES,
        "table": [[template, result] for template, result in table if addressless(result)],
        "tokens": TOKENS,
        "chats": CHATS,
        "families": [family(path) for path in sorted((HERE / "jinja/families").glob("*.jinja"))],
    }
    text = json.dumps(vectors, ensure_ascii=True, indent=1)
    (HERE / "vectors/jinja.json").write_text(text + "\n", encoding="utf-8")
    good = sum("text" in r for f in vectors["families"] for r in f["renders"])
    print(len(vectors["table"]), "templates;", len(vectors["families"]), "families,", good, "texts")


main()
