// SPDX-License-Identifier: MIT
// Anthropic's package against a running server.
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema'

const [base, model] = process.argv.slice(2)
const client = new Anthropic({ baseURL: base, apiKey: 'any', maxRetries: 0 })
const messages = [{ role: 'user', content: 'hello there '.repeat(16) }]  // long enough for parts of it to be kept

const whole = await client.messages.create({ model, max_tokens: 8, temperature: 0, system: 'be brief', messages })
assert.equal(whole.type, 'message')
assert.equal(whole.stop_reason, 'max_tokens')
assert.equal(whole.usage.output_tokens, 8)

const stream = client.messages.stream({ model, max_tokens: 8, temperature: 0, system: 'be brief', messages })
let text = ''
stream.on('text', (piece) => { text += piece })
const final = await stream.finalMessage()
assert.equal(text, whole.content[0].text)
assert.equal(final.stop_reason, 'max_tokens')
assert(final.usage.cache_read_input_tokens > 0)

const schema = { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'], additionalProperties: false }
const parsed = await client.messages.parse({
  model, max_tokens: 200, temperature: 0, messages, output_config: { format: jsonSchemaOutputFormat(schema) }
})
assert(Number.isInteger(parsed.parsed_output.n) && typeof parsed.parsed_output.ok === 'boolean')

const count = await client.messages.countTokens({ model, messages })
assert(count.input_tokens > 0)
await assert.rejects(client.messages.create({ model: 'nobody', max_tokens: 1, messages }), (e) => e.status === 404 && e.error.error.type === 'not_found_error')
await assert.rejects(client.messages.create({ model, max_tokens: 0, messages }), (e) => e.status === 400)
await assert.rejects(client.messages.create({ model, max_tokens: 9, messages, output_config: { format: { type: 'xml' } } }), (e) => e.status === 400)
console.log('anthropic: ok')
