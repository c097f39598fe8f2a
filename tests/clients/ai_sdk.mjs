// SPDX-License-Identifier: MIT
// Vercel's AI SDK with its Ollama provider against a running server.
import assert from 'node:assert/strict'
import { generateText, streamText } from 'ai'
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
console.log('ai sdk: ok')
