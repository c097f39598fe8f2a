# SPDX-License-Identifier: MIT
# litellm, pydantic-ai, instructor and llm, as their documentation begins.
import os
import subprocess
import sys

import instructor
import litellm
import openai
import pydantic
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from common import arguments, numbers, model, question, real, said, scripted, weather

# litellm
for name, where in (("openai/" + model, real + "/v1"), ("ollama_chat/" + model, real), ("anthropic/" + model, real)):
    reply = litellm.completion(model=name, api_base=where, api_key="none", max_tokens=4, messages=[{"role": "user", "content": numbers}])
    assert reply.choices[0].message.content is not None and reply.usage.completion_tokens > 0, (name, reply)
text = litellm.text_completion(model="text-completion-openai/" + model, api_base=real + "/v1", api_key="none", prompt=[numbers, numbers], max_tokens=3, temperature=0)
assert len(text.choices) == 2, text

# pydantic-ai. Not its Anthropic model: with the anthropic package of this lock it fails before it sends anything.
models = [OpenAIChatModel("agent", provider=OpenAIProvider(base_url=scripted + "/v1", api_key="none")),
          OpenAIResponsesModel("agent", provider=OpenAIProvider(base_url=scripted + "/v1", api_key="none"))]
for one in models:
    assert Agent(one, tools=[weather]).run_sync(question).output == said, one


# instructor: what a small model writes has the right form.
class City(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    is_capital: bool


for mode in (instructor.Mode.JSON_SCHEMA,):
    client = instructor.from_openai(openai.OpenAI(base_url=real + "/v1", api_key="none"), mode=mode)
    city = client.chat.completions.create(model=model, response_model=City, temperature=0, max_tokens=100, max_retries=0,
                                          messages=[{"role": "user", "content": "Paris is the capital of France."}])
    assert isinstance(city, City), mode

# llm, a program of its own
folder = os.environ["LLM_USER_PATH"] = os.path.join(os.environ["HOME"], "llm")
os.makedirs(folder)
with open(os.path.join(folder, "extra-openai-models.yaml"), "w") as models_file:
    models_file.write(f"- model_id: spillway\n  model_name: agent\n  api_base: {scripted}/v1\n")
out = subprocess.run([sys.executable, "-m", "llm", "-m", "spillway", "COUNT 4"], capture_output=True, text=True, timeout=120)
assert out.stdout.strip() == "1 2 3 4", out
