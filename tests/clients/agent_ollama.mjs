// SPDX-License-Identifier: MIT
// The ollama package as an agent uses it: tools, thoughts, refusals.
import assert from 'node:assert/strict'
import { Ollama } from 'ollama'
import * as scripted from './scripted.mjs'

const [base] = process.argv.slice(2)
const client = new Ollama({ host: base, headers: scripted.headers })
const tools = [{ type: 'function', function: { name: 'weather', description: 'Tells it', parameters: scripted.parameters } }]

for (const stream of [false, true]) {
  const ask = async (messages, more = {}) => {
    const reply = await client.chat({ model: 'agent', messages, tools, stream, ...more })
    if (!stream) return reply.message
    const whole = { role: 'assistant', content: '', thinking: '', tool_calls: [] }
    let last
    for await (const part of reply) {
      assert(!last?.done, 'nothing follows the last part')
      whole.content += part.message.content
      whole.thinking += part.message.thinking ?? ''
      whole.tool_calls.push(...part.message.tool_calls ?? [])
      last = part
    }
    assert.equal(last.done_reason, 'stop')
    return whole
  }
  const messages = [{ role: 'user', content: scripted.question }]
  const call = await ask(messages)
  assert.equal(call.content, '')
  assert.equal(call.thinking, 'I should look')
  assert.deepEqual(call.tool_calls[0].function, { index: 0, name: 'weather', arguments: scripted.args })
  assert.match(call.tool_calls[0].id, /^call_[0-9a-z]{8}$/)
  messages.push(call, {
    role: 'tool', tool_name: 'weather', tool_call_id: call.tool_calls[0].id,
    content: scripted.weather(call.tool_calls[0].function.arguments)
  })
  const answer = await ask(messages)
  assert.equal(answer.content, scripted.reply)
  // The thought of an earlier turn reaches the model again; and it need not think.
  messages.push(answer, { role: 'user', content: 'RECALL' })
  assert.equal((await ask(messages)).content, 'I thought: I should look')
  messages.push({ role: 'user', content: 'THINK "no" about it' })
  const quiet = await ask(messages, { think: false })
  assert(!quiet.thinking)
  assert.equal(quiet.content, 'Heard: THINK "no" about it')
  // Two calls at once, numbered.
  const two = await ask([{ role: 'user', content: 'CALL weather {"city": "A"} CALL weather {"city": "B"}' }])
  assert.deepEqual(two.tool_calls.map((c) => [c.function.index, c.function.arguments.city]), [[0, 'A'], [1, 'B']])
  assert.notEqual(two.tool_calls[0].id, two.tool_calls[1].id)
}

const { capabilities } = await client.show({ model: 'agent' })
assert(['completion', 'tools', 'thinking'].every((capability) => capabilities.includes(capability)))
assert.deepEqual((await client.embed({ model: 'vectors', input: ['a', 'b'] })).embeddings.map((v) => v.length), [4, 4])

// Refusals: their status, and a sentence for people.
const messages = [{ role: 'user', content: 'hi' }]
const refused = (promise, status, text) => assert.rejects(promise, (e) => {
  assert.equal(e.status_code, status)
  assert.match(e.message, text)
  return true
})
await refused(client.chat({ model: 'plain', messages, tools }), 400, /registry\.ollama\.ai\/library\/plain:latest does not support tools/)
await refused(client.chat({ model: 'plain', messages, think: true }), 400, /"plain" does not support thinking/)
await refused(client.chat({ model: 'agent', messages: [{ ...messages[0], images: [scripted.pixel] }] }), 400, /does not support vision/)
await refused(client.chat({ model: 'vectors', messages }), 400, /"vectors" does not support chat/)
await refused(client.chat({ model: 'small', messages: [{ role: 'user', content: scripted.long }], truncate: false, shift: false }), 400, scripted.overflow)
await refused(client.embed({ model: 'vectors', input: 'word '.repeat(60000), truncate: false }), 400, /the input length exceeds the context length/)
await refused(new Ollama({ host: base }).list(), 401, /^invalid API key$/)
await refused(new Ollama({ host: base, headers: { Authorization: 'Bearer wrong' } }).chat({ model: 'agent', messages }), 401, /^invalid API key$/)

// An answer that is broken off frees its slot.
const stream = await client.chat({ model: 'slow', messages: [{ role: 'user', content: 'COUNT 100000 ' }], stream: true })
for await (const part of stream) { void part; break }
stream.abort()
await scripted.idle(base)

// Full: this package does not try again by itself.
const make_room = await scripted.fill(base)
const noted = scripted.noting(make_room)
const patient = new Ollama({ host: base, headers: scripted.headers, fetch: noted.fetch })
await refused(patient.chat({ model: 'slow', messages }), 503, /busy/)
assert.equal((await patient.chat({ model: 'slow', messages })).message.content, 'Heard: hi')
assert.deepEqual(noted.statuses, [503, 200])
console.log('ollama as an agent: ok')
