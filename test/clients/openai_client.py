"""The unmodified openai package of PyPI against a server: `python openai_client.py BASE_URL ROWS`. Ends with an error when anything
is not as that package has it from OpenAI."""

import json
import sys
import time

import openai

url, rows = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
model = client.models.list().data[0].id
ask = {"model": model, "temperature": 0, "max_tokens": 12}

history = [{"role": "user", "content": "Where does Ada live?"}]
first = client.chat.completions.create(messages=history, **ask)
assert first._request_id.startswith("req-"), first._request_id
history += [first.choices[0].message, {"role": "user", "content": [{"type": "text", "text": "And Bo?"}]}]
second = client.chat.completions.create(messages=history, **ask)
history += [second.choices[0].message.model_dump(), {"role": "user", "content": "Why?"}]
third = client.chat.completions.create(messages=history, stop=None, seed=1, user="u", metadata={"a": "b"}, **ask)
assert third.choices[0].message.role == "assistant" and third.usage.completion_tokens > 0

options = {"stream": True, "stream_options": {"include_usage": True}}
chunks = list(client.chat.completions.create(messages=history[:1], **ask, **options))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == first.choices[0].message.content
assert chunks[-1].usage.completion_tokens == first.usage.completion_tokens

text = client.completions.create(prompt="Ada lives in", logprobs=1, extra_body={"top_k": -1}, **ask).choices[0]
assert "".join(text.logprobs.tokens) == text.text

said = client.responses.create(model=model, input=history[0]["content"], temperature=0, max_output_tokens=12)
assert said.output_text == first.choices[0].message.content
on = client.responses.create(model=model, input="Why?", previous_response_id=said.id, max_output_tokens=4)
assert on.previous_response_id == said.id and client.responses.retrieve(on.id).output_text == on.output_text
with client.responses.stream(model=model, input=history[0]["content"], temperature=0, max_output_tokens=12) as stream:
    assert [event.type for event in stream][0] == "response.created"
    assert stream.get_final_response().output_text == said.output_text
vectors = client.embeddings.create(model=model, input=["Ada", "Bo"], dimensions=16).data
assert [len(one.embedding) for one in vectors] == [16, 16]

json_mode = {"response_format": {"type": "json_object"}, "messages": history[:1]}
answer = client.chat.completions.create(**json_mode, **ask).choices[0].message.content
assert isinstance(json.loads(answer), dict), answer

schema = {"type": "object", "properties": {"seats": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["seats"]}
ferry = {"type": "function", "function": {"name": "ferry", "parameters": schema}}
tools = {"messages": history[:1], "tools": [ferry], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 80}
called = client.chat.completions.create(**{**ask, **tools}).choices[0]
assert called.finish_reason == "tool_calls" and called.message.content is None, called
assert 1 <= json.loads(called.message.tool_calls[0].function.arguments)["seats"] <= 9
result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "booked"}
client.chat.completions.create(messages=[*history[:1], called.message, result], tools=[ferry], **ask)

for wrong, kind, code in [
    ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
    ({"temperature": 9}, openai.BadRequestError, "invalid_value"),
    ({"functions": [{"name": "f"}]}, openai.BadRequestError, "unsupported_parameter"),
    ({"messages": [{"role": "user", "content": "long " * 100_000}]}, openai.BadRequestError, "context_length_exceeded"),
]:
    try:
        client.chat.completions.create(**{"messages": history[:1], **ask, **wrong})
    except kind as error:
        assert error.code == code, error.code
    else:
        raise AssertionError(f"{wrong} was accepted")

with open(rows, "rb") as file:
    training = client.files.create(file=file, purpose="fine-tune")
assert client.files.retrieve(training.id).bytes == len(client.files.content(training.id).read())
method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 8}}}
job = client.fine_tuning.jobs.create(model=model, training_file=training.id, suffix="py", seed=1, method=method)
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(0.2)
    job = client.fine_tuning.jobs.retrieve(job.id)
assert job.status == "succeeded", job.error
assert any("completed" in event.message for event in client.fine_tuning.jobs.list_events(job.id))
client.chat.completions.create(messages=history[:1], **{**ask, "model": job.fine_tuned_model})
client.files.delete(training.id)
print(
    f"openai {openai.__version__} of PyPI: chat, tools, streams, completions, responses, embeddings, errors, files and a fine-tuning job"
)
