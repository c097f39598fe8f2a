// SPDX-License-Identifier: MIT
// Vercel's AI SDK with its Ollama provider as an agent uses it: tools, thoughts, refusals.
import assert from 'node:assert/strict'
import { embed, generateText, isStepCount, jsonSchema, stepCountIs, streamText, tool } from 'ai'
import { createOllama } from 'ollama-ai-provider-v2'
import * as scripted from './scripted.mjs'

const [base] = process.argv.slice(2)
const options = { baseURL: `${base}/api`, headers: scripted.headers }
const ollama = createOllama(options)
const steps = (isStepCount ?? stepCountIs)(4)
const tools = {
  weather: tool({ description: 'Tells it', inputSchema: jsonSchema(scripted.parameters), execute: async (input) => scripted.weather(input) })
}
const ask = {
  model: ollama('agent'), prompt: scripted.question, tools, stopWhen: steps, maxRetries: 0, providerOptions: { ollama: { think: true } }
}
const check = (results) => {
  assert.equal(results.length, 2)
  assert.equal(results[0].reasoningText, 'I should look')
  assert.deepEqual(results[0].toolCalls[0].input, scripted.args)
  assert.equal(results[1].text, scripted.reply)
}
check((await generateText(ask)).steps)
const streamed = streamText(ask)
await streamed.consumeStream()
check(await streamed.steps)

assert.equal((await embed({ model: ollama.textEmbeddingModel('vectors'), value: 'a' })).embedding.length, 4)

const plain = { model: ollama('agent'), prompt: 'hi', maxRetries: 0 }
const refused = (more, status, text) => assert.rejects(generateText({ ...plain, ...more }), (e) => {
  assert.equal(e.statusCode, status)
  assert.match(e.responseBody, text)
  return true
})
await refused({ model: createOllama({ baseURL: options.baseURL })('agent') }, 401, /^\{"error":"invalid API key"\}$/)
await refused({ model: ollama('nobody') }, 404, /not found/)
await refused({
  prompt: undefined,
  messages: [{ role: 'user', content: [{ type: 'text', text: 'what is it?' }, { type: 'file', mediaType: 'image/png', data: scripted.pixel }] }]
}, 400, /does not support vision/)

// An answer that is broken off frees its slot.
const stop = new AbortController()
const counting = streamText({ ...plain, model: ollama('slow'), prompt: 'COUNT 100000 ', abortSignal: stop.signal, onError: () => {} })
for await (const piece of counting.textStream) { void piece; stop.abort(); break }
await scripted.idle(base)

// Full: this package waits as long as it is told, and tries again.
const noted = scripted.noting(await scripted.fill(base))
const patient = createOllama({ ...options, fetch: noted.fetch })
assert.equal((await generateText({ ...plain, model: patient('slow'), maxRetries: 2 })).text, 'Heard: hi')
assert.deepEqual(noted.statuses, [503, 200])
console.log('ai sdk as an agent: ok')
