# SPDX-License-Identifier: MIT
# LangChain over all three protocols: batches, streams, an agent with a tool.
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI
from common import numbers, model, question, real, said, scripted, weather, days

llm = OpenAI(base_url=real + "/v1", api_key="none", model=model, max_tokens=4, temperature=0, batch_size=20)
replies = llm.generate([numbers, days, numbers])
texts = [reply[0].text for reply in replies.generations]
assert "6" in texts[0] and "Thursday" in texts[1] and texts[2] == texts[0], replies
assert OllamaLLM(base_url=real, model=model, num_predict=4).invoke(numbers)

for chat in (ChatOpenAI(base_url=scripted + "/v1", api_key="none", model="agent"),
             ChatOpenAI(base_url=scripted + "/v1", api_key="none", model="agent", use_responses_api=True),
             ChatAnthropic(base_url=scripted, api_key="none", model="agent"),
             ChatOllama(base_url=scripted, model="agent", reasoning=False)):
    agent = create_agent(chat, tools=[weather])
    last = agent.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1]
    assert last.text == said, (chat, last)
    assert "".join(piece.text for piece in chat.stream("COUNT 3")) == "1 2 3"
