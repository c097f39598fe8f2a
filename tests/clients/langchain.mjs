// SPDX-License-Identifier: MIT
// LangChain's ChatOllama and OllamaEmbeddings against a running server.
import assert from 'node:assert/strict'
import { ChatOllama, OllamaEmbeddings } from '@langchain/ollama'

const [base, model] = process.argv.slice(2)
const chat = new ChatOllama({ baseUrl: base, model, numPredict: 8, temperature: 0 })
const whole = await chat.invoke('hello there')
assert.equal(typeof whole.content, 'string')
assert(whole.usage_metadata.output_tokens > 0)
let text = ''
for await (const part of await chat.stream('hello there')) text += part.content
assert.equal(text, whole.content)
const vectors = await new OllamaEmbeddings({ baseUrl: base, model }).embedDocuments(['one', 'two'])
assert.equal(vectors.length, 2)
const schema = { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'] }
const structured = await new ChatOllama({ baseUrl: base, model, numPredict: 200, temperature: 0 }).withStructuredOutput(schema).invoke('hello there')
assert(Number.isInteger(structured.n) && typeof structured.ok === 'boolean')
console.log('langchain: ok')
