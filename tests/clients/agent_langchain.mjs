// SPDX-License-Identifier: MIT
// LangChain's ChatOllama as an agent uses it: tools, thoughts, refusals.
import assert from 'node:assert/strict'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOllama, OllamaEmbeddings } from '@langchain/ollama'
import * as scripted from './scripted.mjs'

const [base] = process.argv.slice(2)
const options = { baseUrl: base, headers: scripted.headers, maxRetries: 0 }
const chat = new ChatOllama({ ...options, model: 'agent', think: true })
const weather = tool(scripted.weather, { name: 'weather', description: 'Tells it', schema: scripted.parameters })
const agent = chat.bindTools([weather])

for (const stream of [false, true]) {
  const ask = async (messages) => {
    if (!stream) return agent.invoke(messages)
    let whole
    for await (const part of await agent.stream(messages)) whole = whole ? whole.concat(part) : part
    return whole
  }
  const messages = [new HumanMessage(scripted.question)]
  const call = await ask(messages)
  assert.equal(call.additional_kwargs.reasoning_content, 'I should look')
  assert.equal(call.tool_calls.length, 1)
  assert.deepEqual(call.tool_calls[0].args, scripted.args)
  const result = await weather.invoke(call.tool_calls[0])
  assert(result instanceof ToolMessage)
  messages.push(call, result)
  const answer = await ask(messages)
  assert.equal(answer.content, scripted.reply)
  assert(answer.usage_metadata.input_tokens > 0)
}
assert.deepEqual((await new OllamaEmbeddings({ ...options, model: 'vectors' }).embedQuery('a')).length, 4)

const refused = (model, messages, text, more = {}) =>
  assert.rejects(new ChatOllama({ ...options, model, ...more }).invoke(messages), (e) => {
    assert.match(e.message, text)
    return true
  })
await refused('agent', [new HumanMessage({ content: [{ type: 'image_url', image_url: `data:image/png;base64,${scripted.pixel}` }] })], /does not support vision/)
await refused('agent', 'hi', /invalid API key/, { headers: { Authorization: 'Bearer wrong' } })
await refused('nobody', 'hi', /not found/)

// An answer that is broken off frees its slot. (A stream that is merely left goes on to its end in this package.)
const stop = new AbortController()
const counting = new ChatOllama({ ...options, model: 'slow' }).invoke('COUNT 100000 ', { signal: stop.signal })
await scripted.until(async () => (await scripted.slots(base)).some((slot) => slot.is_processing))
stop.abort()
await counting  // what there was
await scripted.idle(base)

// Full: this package does not try a refused request again, whatever its maxRetries.
const noted = scripted.noting(await scripted.fill(base))
const next = { model: 'slow', maxRetries: 3, fetch: noted.fetch }
await refused('slow', 'hi', /busy/, next)
assert.equal((await new ChatOllama({ ...options, ...next }).invoke('hi')).content, 'Heard: hi')
assert.deepEqual(noted.statuses, [503, 200])
console.log('langchain as an agent: ok')
