# SPDX-License-Identifier: MIT
# LlamaIndex over Ollama's protocol and OpenAI's.
import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from common import numbers, model, question, real, said, scripted, weather

assert Ollama(model=model, base_url=real, request_timeout=120, additional_kwargs={"num_predict": 4}).complete(numbers).text
plain = OpenAILike(model=model, api_base=real + "/v1", api_key="none", max_tokens=4, temperature=0)
assert "6" in plain.complete(numbers).text

for llm in (Ollama(model="agent", base_url=scripted, request_timeout=60, thinking=False),
            OpenAILike(model="agent", api_base=scripted + "/v1", api_key="none", is_chat_model=True, is_function_calling_model=True)):
    assert llm.chat([ChatMessage(role="user", content="COUNT 3")]).message.content == "1 2 3"

    async def ask():
        return await FunctionAgent(tools=[weather], llm=llm, streaming=False).run(question)

    assert str(asyncio.run(ask())) == said, llm
