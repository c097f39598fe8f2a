# SPDX-License-Identifier: MIT
# The anthropic package: messages, streams, its tool runner, threads (which are refused so that it goes on without), models.
import anthropic
from common import arguments, numbers, model, question, real, said, scripted, weather

client = anthropic.Anthropic(base_url=real, api_key="none", max_retries=0)
agent = anthropic.Anthropic(base_url=scripted, api_key="none", max_retries=0)

assert model + ":latest" in [m.id for m in client.models.list(limit=1)]
assert client.models.retrieve(model).type == "model"

raw = client.messages.with_raw_response.create(model=model, max_tokens=4, messages=[{"role": "user", "content": numbers}])
assert raw.headers["request-id"].startswith("req_")
assert raw.parse().stop_reason in ("max_tokens", "end_turn")
with client.messages.stream(model=model, max_tokens=8, messages=[{"role": "user", "content": numbers}]) as stream:
    assert "".join(stream.text_stream) == "".join(block.text for block in stream.get_final_message().content)
assert client.messages.count_tokens(model=model, messages=[{"role": "user", "content": numbers}]).input_tokens > 5

# A message that is not finished is gone on with.
begun = client.messages.create(model=model, max_tokens=3, extra_body={"temperature": 0}, messages=[
    {"role": "user", "content": "Count."}, {"role": "assistant", "content": numbers}])
assert "6" in begun.content[0].text, begun

try:
    client.messages.create(model=model, max_tokens=4, messages=[{"role": "user", "content": "on"}],
                           extra_body={"thread": {"type": "continue", "previous_message_id": "msg_1"}})
    raise AssertionError("a thread was taken")
except anthropic.BadRequestError as error:
    assert error.body["error"]["details"]["error_code"] == "thread_unsupported_request", error.body
try:
    client.messages.create(model=model, max_tokens=4, messages=[{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}]}])
    raise AssertionError("an image was taken")
except anthropic.BadRequestError as error:
    assert "Could not process image" in error.message


@anthropic.beta_tool
def weather_tool(city: str, days: int) -> str:
    """Tells the weather of a city.

    Args:
        city: where
        days: how many
    """
    return weather(city, days)


runner = agent.beta.messages.tool_runner(model="agent", max_tokens=400, tools=[weather_tool],
                                         messages=[{"role": "user", "content": question.replace("weather", "weather_tool")}])
assert runner.until_done().content[0].text == said

document = {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "COUNT 3"}}
told = agent.messages.create(model="agent", max_tokens=50, messages=[{"role": "user", "content": [document, {"type": "text", "text": "?"}]}])
assert told.content[0].text == "1 2 3", told
