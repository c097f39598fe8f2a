// SPDX-License-Identifier: MIT
// The openai package against a running server.
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const [base, model] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'any', maxRetries: 0 })
const messages = [{ role: 'developer', content: 'be brief' }, { role: 'user', content: 'hello there '.repeat(16) }]  // long enough for parts of it to be kept

const models = await client.models.list()
assert(models.data.some((m) => m.id === `${model}:latest`))
const whole = await client.chat.completions.create({ model, messages, max_completion_tokens: 8, temperature: 0 })
assert.equal(whole.object, 'chat.completion')
assert.equal(whole.choices[0].finish_reason, 'length')
assert.equal(whole.usage.completion_tokens, 8)

let text = '', usage, reason
const stream = await client.chat.completions.create({
  model, messages, max_completion_tokens: 8, temperature: 0, stream: true, stream_options: { include_usage: true }
})
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? ''
  reason = chunk.choices[0]?.finish_reason ?? reason
  usage = chunk.usage ?? usage
}
assert.equal(text, whole.choices[0].message.content)
assert.equal(reason, 'length')
assert(usage.prompt_tokens_details.cached_tokens > 0)

const scored = await client.chat.completions.create({ model, messages, max_completion_tokens: 2, logprobs: true, top_logprobs: 2 })
assert.equal(scored.choices[0].logprobs.content[0].top_logprobs.length, 2)
const json = await client.chat.completions.create({
  model, messages, temperature: 0, max_completion_tokens: 200,
  response_format: { type: 'json_schema', json_schema: { name: 's', schema: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } } }
})
assert(Number.isInteger(JSON.parse(json.choices[0].message.content).n))
const completion = await client.completions.create({ model, prompt: 'once upon', max_tokens: 4 })
assert.equal(completion.choices[0].finish_reason, 'length')

const embedding = await client.embeddings.create({ model, input: ['one', 'two'] })  // as base64, which the package asks for
assert.equal(embedding.data.length, 2)
assert(Math.abs(Math.hypot(...embedding.data[0].embedding) - 1) < 1e-3)

const response = await client.responses.create({ model, input: 'hello', max_output_tokens: 16 })
assert.equal(response.object, 'response')
assert.equal(typeof response.output_text, 'string')
const seen = []
for await (const event of await client.responses.create({ model, input: 'hello', max_output_tokens: 16, stream: true }))
  seen.push(event.type)
assert.equal(seen[0], 'response.created')
assert(seen.includes('response.output_text.delta'))
assert.match(seen.at(-1), /^response\.(completed|incomplete)$/)

await assert.rejects(client.chat.completions.create({ model: 'nobody', messages }), (e) => e.status === 404)
await assert.rejects(
  client.chat.completions.create({ model, messages: [{ role: 'user', content: 'word '.repeat(20000) }] }),
  (e) => e.status === 400 && e.code === 'context_length_exceeded')
console.log('openai: ok')
