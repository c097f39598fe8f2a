// SPDX-License-Identifier: MIT
// The ollama package against a running server: every call it has that works without a network.
import assert from 'node:assert/strict'
import { Ollama } from 'ollama'

const [base, model] = process.argv.slice(2)
const client = new Ollama({ host: base })
const options = { num_predict: 8, temperature: 0, seed: 1 }
const messages = [{ role: 'user', content: 'hello there '.repeat(16) }]  // long enough for parts of it to be kept

const { models } = await client.list()
assert(models.some((m) => m.name === `${model}:latest` && /^[0-9a-f]{64}$/.test(m.digest)))
assert((await client.version()).version.split('.').every((part) => Number.isInteger(Number(part))))
const shown = await client.show({ model })
assert(shown.capabilities.includes('completion'))
assert(Object.keys(shown.model_info).some((key) => key.endsWith('.context_length')))

const whole = await client.chat({ model, messages, options })
assert.equal(whole.done, true)
assert.equal(whole.done_reason, 'length')
assert.equal(whole.eval_count, 8)
for (const key of ['total_duration', 'prompt_eval_count', 'prompt_eval_duration', 'eval_duration']) assert(whole[key] > 0, key)

let streamed = '', last
for await (const part of await client.chat({ model, messages, options, stream: true })) {
  assert.equal(typeof part.message.content, 'string')
  assert(!last?.done, 'nothing follows the last part')
  streamed += part.message.content
  last = part
}
assert.equal(last.done, true)
assert.equal(streamed, whole.message.content, 'streamed or not, the text is the same')
assert.equal(last.prompt_eval_cached_count, Math.floor((last.prompt_eval_count - 64) / 64) * 64, 'whole parts were computed before')

const generated = await client.generate({ model, prompt: 'once upon a time', options })
assert(generated.context.length > 8)
const json = await client.chat({
  model, messages, options: { num_predict: 200, temperature: 0 },
  format: { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'] }
})
const parsed = JSON.parse(json.message.content)
assert(Number.isInteger(parsed.n) && typeof parsed.ok === 'boolean')
const { embeddings } = await client.embed({ model, input: ['one text', 'another'] })
assert.equal(embeddings.length, 2)
assert(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-3)
const { models: running } = await client.ps()
assert(running[0].size > 0 && Date.parse(running[0].expires_at) > Date.now())

await assert.rejects(client.chat({ model: 'nobody', messages }), (e) => e.status_code === 404 && /not found/.test(e.message))
await assert.rejects(
  client.chat({ model, messages: [{ role: 'user', content: 'word '.repeat(20000) }], options: { num_ctx: 128 }, truncate: false }),
  (e) => e.status_code === 400 && /exceeds the available context size/.test(e.message))

const stream = await client.chat({ model, messages, options: { num_predict: 100000 }, stream: true })
setTimeout(() => stream.abort(), 50)
await assert.rejects(async () => { for await (const part of stream) void part }, { name: 'AbortError' })
await client.copy({ source: model, destination: 'second' })
await client.delete({ model: 'second' })
await assert.rejects(client.delete({ model: 'second' }), (e) => e.status_code === 404)
console.log('ollama: ok')
