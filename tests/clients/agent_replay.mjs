// SPDX-License-Identifier: MIT
// Requests that agents really sent, once more: each is answered by a stream that is whole, and what a request says and
// nobody does is no more than what its file expects.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { headers } from './scripted.mjs'
import { restore } from './recording.mjs'

const [base] = process.argv.slice(2)
const folder = new URL('./recorded/', import.meta.url)
const ends = {
  '/v1/messages': /event: message_delta\n[^\n]*"stop_reason":"(end_turn|tool_use|max_tokens)"[^]*event: message_stop\ndata: [^\n]*\n\n$/,
  '/v1/responses': /event: response\.(completed|incomplete)\ndata: [^\n]*"usage":\{"input_tokens":\d+[^\n]*\n\n$/,
  '/v1/chat/completions': /"finish_reason":"(stop|length|tool_calls)"[^]*data: \[DONE\]\n\n$/,
  '/api/chat': /"done":true[^\n]*\n$/
}
// What was written for the reader, of whatever protocol's events.
const words = (text) => text.split('\n').filter((line) => /^(data: )?\{/.test(line)).map((line) => {
  const event = JSON.parse(line.replace('data: ', ''))
  if (event.type === 'response.output_text.delta') return event.delta
  return event.delta?.text ?? event.choices?.[0]?.delta?.content ?? event.message?.content ?? ''
}).join('')

let count = 0
for (const file of fs.readdirSync(folder).filter((name) => name.endsWith('.json')).sort()) {
  const recorded = JSON.parse(fs.readFileSync(new URL(file, folder)))
  const body = restore(recorded.body)
  body.model = 'agent'
  for (const limit of ['max_tokens', 'max_output_tokens', 'max_completion_tokens']) if (body[limit]) body[limit] = 80
  const reply = await fetch(base + recorded.path, {
    method: 'POST', body: JSON.stringify(body),
    headers: { ...headers, ...recorded.headers, 'content-type': 'application/json' }
  })
  const text = await reply.text()
  assert.equal(reply.status, 200, `${file}: ${text.slice(0, 300)}`)
  const path = recorded.path.replace(/\?.*/, '')
  if (body.stream !== false) assert.match(text, ends[path], `${file}: ${text.slice(-400)}`)
  assert.equal(reply.headers.get('x-spillway-not-applied') ?? '', recorded.not_applied ?? '', file)
  for (const said of recorded.says ?? []) assert(words(text).includes(said), `${file}: not said: ${said}: ${words(text)}`)
  ++count
}
assert(count >= 10, `only ${count} recordings`)
