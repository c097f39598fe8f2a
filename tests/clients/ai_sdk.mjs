// SPDX-License-Identifier: MIT
// Vercel's AI SDK with its Ollama provider against a running server.
import assert from 'node:assert/strict'
import { Output, generateText, jsonSchema, streamText } from 'ai'
import { createOllama } from 'ollama-ai-provider-v2'

const [base, model] = process.argv.slice(2)
const ollama = createOllama({ baseURL: `${base}/api` })
const providerOptions = { ollama: { options: { num_predict: 8, temperature: 0, seed: 1 } } }
const ask = { model: ollama(model), prompt: 'hello there', maxRetries: 0, providerOptions }
const whole = await generateText(ask)
assert(whole.text.length > 0)
assert(whole.usage.outputTokens > 0)
let text = ''
for await (const piece of streamText(ask).textStream) text += piece
assert.equal(text, whole.text)
const schema = { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'] }
const { output } = await generateText({
  ...ask, providerOptions: { ollama: { options: { num_predict: 200, temperature: 0 } } }, output: Output.object({ schema: jsonSchema(schema) })
})
assert(Number.isInteger(output.n) && typeof output.ok === 'boolean')
console.log('ai sdk: ok')
