// SPDX-License-Identifier: MIT
// The openai package as an agent uses it: tools, thoughts, refusals; chat completions and responses.
import assert from 'node:assert/strict'
import OpenAI from 'openai'
import * as scripted from './scripted.mjs'

const [base] = process.argv.slice(2)
const options = { baseURL: `${base}/v1`, apiKey: scripted.key, maxRetries: 0 }
const client = new OpenAI(options)
const tool = { type: 'function', function: { name: 'weather', description: 'Tells it', parameters: scripted.parameters } }

// By hand, with a thought; the reasoning goes back to the model as other servers' does.
for (const stream of [false, true]) {
  const ask = async (messages) => {
    const asked = { model: 'agent', messages, tools: [tool], tool_choice: 'auto', parallel_tool_calls: true }
    if (!stream) return (await client.chat.completions.create(asked)).choices[0]
    let reasoning = ''
    const runner = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } })
    runner.on('chunk', (chunk) => { reasoning += chunk.choices[0]?.delta?.reasoning_content ?? '' })
    const choice = (await runner.finalChatCompletion()).choices[0]
    assert((await runner.totalUsage()).total_tokens > 0)
    return { ...choice, message: { ...choice.message, reasoning_content: reasoning } }
  }
  const messages = [{ role: 'system', content: 'be brief' }, { role: 'user', content: scripted.question }]
  const call = await ask(messages)
  assert.equal(call.finish_reason, 'tool_calls')
  assert.equal(call.message.reasoning_content, 'I should look')
  assert.equal(call.message.tool_calls[0].function.name, 'weather')
  assert.deepEqual(JSON.parse(call.message.tool_calls[0].function.arguments), scripted.args)
  const content = scripted.weather(JSON.parse(call.message.tool_calls[0].function.arguments))
  messages.push(call.message, { role: 'tool', tool_call_id: call.message.tool_calls[0].id, content })
  const answer = await ask(messages)
  assert.equal(answer.message.content, scripted.reply)
  assert.equal(answer.finish_reason, 'stop')
  messages.push(answer.message, { role: 'user', content: 'RECALL' })
  assert.equal((await ask(messages)).message.content, 'I thought: I should look')
}

// By the package's own loop.
for (const stream of [false, true]) {
  const runner = client.chat.completions.runTools({
    model: 'agent', stream, messages: [{ role: 'user', content: scripted.question }],
    tools: [{ type: 'function', function: { ...tool.function, function: scripted.weather, parse: JSON.parse } }]
  })
  assert.equal(await runner.finalContent(), scripted.reply)
}

// Responses: the call, its output, the text.
for (const stream of [false, true]) {
  const ask = async (input) => {
    const asked = { model: 'agent', input, tools: [{ type: 'function', ...tool.function, strict: false }] }
    if (!stream) return client.responses.create(asked)
    const events = client.responses.stream(asked)
    let next = 0
    for await (const event of events) assert.equal(event.sequence_number, next++, event.type)
    return events.finalResponse()
  }
  const input = [{ role: 'user', content: scripted.question }]
  const first = await ask(input)
  assert.deepEqual(first.output.map((item) => item.type), ['reasoning', 'function_call'])
  assert.equal(first.output[0].summary[0].text, 'I should look')
  assert.deepEqual(JSON.parse(first.output[1].arguments), scripted.args)
  input.push(...first.output, {
    type: 'function_call_output', call_id: first.output[1].call_id, output: scripted.weather(JSON.parse(first.output[1].arguments))
  })
  assert.equal((await ask(input)).output_text, scripted.reply)
}

assert.equal((await client.embeddings.create({ model: 'vectors', input: 'a' })).data[0].embedding.length, 4)

// Refusals: their status and class, and a sentence for people.
const messages = [{ role: 'user', content: 'hi' }]
const chat = (more, by = client) => by.chat.completions.create({ model: 'agent', messages, ...more })
const refused = (promise, status, text) => assert.rejects(promise, (e) => {
  assert(e instanceof OpenAI.APIError)
  assert.equal(e.status, status)
  assert.match(e.message, text)
  return true
})
await refused(chat({ model: 'plain', tools: [tool] }), 400, /does not support tools/)
await refused(chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${scripted.pixel}` } }] }] }), 400, /does not support vision/)
await refused(chat({ n: 0 }), 400, /'n'/)
await assert.rejects(chat({ model: 'small', messages: [{ role: 'user', content: scripted.long }] }), (e) => {
  assert.equal(e.code, 'context_length_exceeded')
  assert.equal(e.type, 'invalid_request_error')
  assert.match(e.message, scripted.overflow)
  return e.status === 400
})
await assert.rejects(chat({}, new OpenAI({ ...options, apiKey: 'wrong' })), OpenAI.AuthenticationError)

// An answer that is broken off frees its slot.
const count = [{ role: 'user', content: 'COUNT 100000 ' }]
for await (const chunk of await chat({ model: 'slow', messages: count, stream: true })) { void chunk; break }
await scripted.idle(base)
const stop = new AbortController()
const broken = client.chat.completions.create({ model: 'slow', messages: count }, { signal: stop.signal })
await scripted.until(async () => (await scripted.slots(base)).some((slot) => slot.is_processing))
stop.abort()
await assert.rejects(broken, OpenAI.APIUserAbortError)
await scripted.idle(base)

// Full: this package waits as long as it is told, and tries again.
await refused((async () => {
  const make_room = await scripted.fill(base)
  try { await chat({ model: 'slow' }) } finally { await make_room() }
})(), 503, /busy/)
const noted = scripted.noting(await scripted.fill(base))
const patient = new OpenAI({ ...options, maxRetries: 2, fetch: noted.fetch })
assert.equal((await chat({ model: 'slow' }, patient)).choices[0].message.content, 'Heard: hi')
assert.deepEqual(noted.statuses, [503, 200])
console.log('openai as an agent: ok')
