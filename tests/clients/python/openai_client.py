# SPDX-License-Identifier: MIT
# The openai package: typed replies, streams, parsed schemas, tools' round trip; chat completions, completions, responses.
import asyncio

import openai
import pydantic
from common import arguments, numbers, model, question, real, said, scripted, weather, days

client = openai.OpenAI(base_url=real + "/v1", api_key="none", max_retries=0)
agent = openai.OpenAI(base_url=scripted + "/v1", api_key="none", max_retries=0)


class City(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(regex_engine="python-re")  # its own engine refuses look-ahead, too
    name: str = pydantic.Field(pattern=r"^(?!x)[A-Z][a-z]+$", max_length=20)
    population: int = pydantic.Field(ge=0, multiple_of=10)


assert model in [m.id.removesuffix(":latest") for m in client.models.list()]

chat = client.chat.completions.create(model=model, messages=[{"role": "user", "content": numbers}], max_tokens=4, n=2, logprobs=True, top_logprobs=2)
assert len(chat.choices) == 2 and chat.usage.completion_tokens == 8, chat
assert all(len(choice.logprobs.content) == 4 for choice in chat.choices)

how = {"model": model, "messages": [{"role": "user", "content": numbers}], "max_tokens": 8, "temperature": 0}
whole = client.chat.completions.create(**how)
pieces = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == whole.choices[0].message.content
assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens == 8

# A prompt's own probabilities: how perplexities are measured.
echo = client.completions.create(model=model, prompt=numbers + " 6", max_tokens=0, echo=True, logprobs=1, temperature=0).choices[0]
assert echo.text == numbers + " 6" and echo.finish_reason == "length"
assert len(echo.logprobs.tokens) == len(echo.logprobs.token_logprobs) == len(echo.logprobs.text_offset)
assert echo.logprobs.token_logprobs[-1] > -3, echo.logprobs
assert "".join(echo.logprobs.tokens) == echo.text
assert all(echo.text[at:].startswith(token) for at, token in zip(echo.logprobs.text_offset, echo.logprobs.tokens))
several = client.completions.create(model=model, prompt=[numbers, days], max_tokens=3, temperature=0)
assert "6" in several.choices[0].text and "Thursday" in several.choices[1].text, several

# What pydantic says and no grammar can is refused where the schema is strict, as the package sends it, and by name.
try:
    client.chat.completions.parse(model=model, messages=[{"role": "user", "content": "Paris"}], response_format=City, max_tokens=60)
    raise AssertionError("a strict schema that cannot hold was taken")
except openai.BadRequestError as error:
    assert "look" in error.message or "multipleOf" in error.message, error.message
schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
raw = client.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "Paris"}], response_format=schema, max_tokens=80)
assert "multipleOf" in raw.headers["x-spillway-not-applied"], raw.headers
assert raw.headers["x-request-id"].startswith("req_")

try:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": numbers}], modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    raise AssertionError("audio was taken")
except openai.BadRequestError as error:
    assert "audio" in error.message

# Tools, with the scripted model.
tool = openai.pydantic_function_tool(pydantic.create_model("weather", city=(str, ...), days=(int, ...)), name="weather")
messages = [{"role": "user", "content": question}]
call = agent.chat.completions.parse(model="agent", messages=messages, tools=[tool]).choices[0]
assert call.finish_reason == "tool_calls"
assert call.message.tool_calls[0].function.parsed_arguments.model_dump() == arguments
messages += [call.message, {"role": "tool", "tool_call_id": call.message.tool_calls[0].id, "content": weather(**arguments)}]
assert agent.chat.completions.create(model="agent", messages=messages, tools=[tool]).choices[0].message.content == said

function = {"type": "function", "name": "weather", "parameters": tool["function"]["parameters"], "strict": True}
reply = agent.responses.create(model="agent", input=question, tools=[function], instructions="Be brief.", truncation="auto", metadata={"a": "b"})
assert (reply.instructions, reply.truncation, reply.metadata) == ("Be brief.", "auto", {"a": "b"})
assert reply.output[0].name == "weather"
history = [{"role": "user", "content": question}, *reply.output, {"type": "function_call_output", "call_id": reply.output[0].call_id, "output": weather(**arguments)}]
with agent.responses.stream(model="agent", input=history, tools=[function]) as stream:
    assert stream.get_final_response().output_text == said
assert agent.responses.input_tokens.count(model="agent", input=question).input_tokens > len(question)


async def at_once():
    many = openai.AsyncOpenAI(base_url=real + "/v1", api_key="none")
    replies = await asyncio.gather(*[many.completions.create(model=model, prompt=numbers, max_tokens=2, temperature=0) for _ in range(4)])
    assert len({reply.choices[0].text for reply in replies}) == 1
    await many.close()


asyncio.run(at_once())
