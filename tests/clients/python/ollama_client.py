# SPDX-License-Identifier: MIT
# The ollama package: generate, chat, streams, formats, tools.
import ollama
from common import arguments, numbers, model, question, real, said, scripted, weather

client = ollama.Client(host=real)
agent = ollama.Client(host=scripted)
assert model + ":latest" in [m.model for m in client.list().models]
assert client.show(model).modelinfo["general.architecture"] == "gemma3"
assert "6" in client.generate(model, numbers, raw=True, options={"temperature": 0, "num_predict": 4}).response
text = "".join(part.message.content for part in client.chat(model, [{"role": "user", "content": numbers}], stream=True, options={"num_predict": 6}))
assert text
begun = client.chat(model, [{"role": "user", "content": "?"}, {"role": "assistant", "content": numbers}], options={"num_predict": 3, "temperature": 0})
assert "6" in begun.message.content, begun

call = agent.chat("agent", [{"role": "user", "content": question}], tools=[weather], think=False).message
assert dict(call.tool_calls[0].function.arguments) == arguments
reply = agent.chat("agent", [{"role": "user", "content": question}, call, {"role": "tool", "tool_name": "weather", "content": weather(**arguments)}], think=False)
assert reply.message.content == said
