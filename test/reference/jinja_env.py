"""jinja2 as transformers sets it up for chat templates: its own code compiles and renders."""

import json

from transformers.utils.chat_template_utils import _compile_jinja_template

GLOBALS = {
    "row": json.loads('{"a": 1, "b": [1, 2.5, 1.0, 1e-05, 1e16, true, null, "x"], "c": {"10": "ten", "2": "two"}, "items": 3}'),
    "text": "  Hello, wide World! \n",
    "wide": "a\U0001F600b\U0001F601",
    "people": [
        {"name": "Ann", "age": 31, "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "tags": []},
        {"name": "Cid", "age": 31},
    ],
    "big": 123456789012345678901234567890,
    "f": 3.0,
    "n": None,
    "yes": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <there> & \"you\""},
        {"role": "assistant", "content": "Hello.\n"},
    ],
}


def render(template, variables=None):
    try:
        return {"text": _compile_jinja_template(template).render(**(GLOBALS if variables is None else variables))}
    except Exception as error:  # noqa: BLE001: every way to fail is a result
        return {"error": f"{type(error).__name__}: {error}"}
