// SPDX-License-Identifier: MIT
// Anthropic's package as an agent uses it: tools, thoughts, refusals.
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import * as scripted from './scripted.mjs'

const [base] = process.argv.slice(2)
const options = { baseURL: base, apiKey: scripted.key, maxRetries: 0 }
const client = new Anthropic(options)
const tool = { name: 'weather', description: 'Tells it', input_schema: scripted.parameters }
const thinking = { type: 'enabled', budget_tokens: 1024 }
const limits = { model: 'agent', max_tokens: 2000 }

for (const stream of [false, true]) {
  const ask = (messages, more = {}) => {
    const asked = { ...limits, messages, tools: [tool], thinking, ...more }
    return stream ? client.messages.stream(asked).finalMessage() : client.messages.create(asked)
  }
  const messages = [{ role: 'user', content: scripted.question }]
  const call = await ask(messages)
  assert.equal(call.stop_reason, 'tool_use')
  assert.deepEqual(call.content.map((block) => block.type), ['thinking', 'tool_use'])
  assert.equal(call.content[0].thinking, 'I should look')
  assert.deepEqual(call.content[1].input, scripted.args)
  messages.push({ role: 'assistant', content: call.content }, {
    role: 'user',
    content: [{ type: 'tool_result', tool_use_id: call.content[1].id, content: scripted.weather(call.content[1].input) }]
  })
  const answer = await ask(messages)
  assert.equal(answer.stop_reason, 'end_turn')
  assert.equal(answer.content.at(-1).text, scripted.reply)
  messages.push({ role: 'assistant', content: answer.content }, { role: 'user', content: 'RECALL' })
  assert.equal((await ask(messages)).content[0].text, 'I thought: I should look')
  const quiet = await ask([{ role: 'user', content: 'THINK "no" about it' }], { thinking: { type: 'disabled' } })
  assert.deepEqual(quiet.content.map((block) => block.type), ['text'])
  const text_first = await ask([{ role: 'user', content: 'CALL weather {"city": "A"} CALL weather {"city": "B"}' }])
  assert.deepEqual(text_first.content.map((block) => block.input?.city), ['A', 'B'])
}

// By the package's own loop.
for (const stream of [false, true]) {
  const runner = client.beta.messages.toolRunner({
    ...limits, stream, messages: [{ role: 'user', content: scripted.question }],
    tools: [{ ...tool, run: scripted.weather, parse: (input) => input }]
  })
  assert.equal((await runner.runUntilDone()).content.at(-1).text, scripted.reply)
}

assert((await client.messages.countTokens({ model: 'agent', tools: [tool], messages: [{ role: 'user', content: 'hi' }] })).input_tokens > 100)

// Refusals: their status, class and type, and a sentence for people.
const messages = [{ role: 'user', content: 'hi' }]
const create = (more, by = client) => by.messages.create({ ...limits, messages, ...more })
const refused = (promise, status, type, text) => assert.rejects(promise, (e) => {
  assert.equal(e.status, status)
  assert.equal(e.error.type, 'error')
  assert.equal(e.error.error.type, type)
  assert.match(e.error.error.message, text)
  return true
})
await refused(create({ model: 'plain', tools: [tool] }), 400, 'invalid_request_error', /does not support tools/)
await refused(create({
  messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: scripted.pixel } }] }]
}), 400, 'invalid_request_error', /does not support vision/)
await refused(create({ model: 'small', messages: [{ role: 'user', content: scripted.long }] }), 400, 'invalid_request_error', scripted.overflow)
await refused(create({ model: 'nobody' }), 404, 'not_found_error', /not found/)
await refused(create({}, new Anthropic({ ...options, apiKey: 'wrong' })), 401, 'authentication_error', /invalid API key/)
await assert.rejects(create({}, new Anthropic({ ...options, apiKey: 'wrong' })), Anthropic.AuthenticationError)

// An answer that is broken off frees its slot.
const stream = client.messages.stream({ ...limits, model: 'slow', max_tokens: 100000, messages: [{ role: 'user', content: 'COUNT 100000 ' }] })
stream.once('text', () => stream.abort())
await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError)
await scripted.idle(base)

// Full: this package waits as long as it is told, and tries again.
const noted = scripted.noting(await scripted.fill(base))
await refused(create({ model: 'slow' }, new Anthropic({ ...options, fetch: noted.fetch })), 503, 'overloaded_error', /busy/)
const again = scripted.noting(await scripted.fill(base))
const patient = new Anthropic({ ...options, maxRetries: 2, fetch: again.fetch })
assert.equal((await create({ model: 'slow' }, patient)).content[0].text, 'Heard: hi')
assert.deepEqual(again.statuses, [503, 200])
console.log('anthropic as an agent: ok')
