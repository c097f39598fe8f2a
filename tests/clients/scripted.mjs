// SPDX-License-Identifier: MIT
// What the agent_*.mjs scripts share: the scripted server's key, a tool, and a server that is busy.
import assert from 'node:assert/strict'

export const key = 'secret'
export const headers = { Authorization: `Bearer ${key}` }

// The tool that is offered, and what running it gives.
export const parameters = {
  type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } }, required: ['city']
}
export const weather = ({ city, days }) => `${days} days of sun in ${city}`
// "the user asks": the model thinks, calls, and repeats what the tool said. Quotes, a newline and a letter beyond ASCII
// are what breaks where text is quoted twice or cut between bytes.
export const question = 'THINK "I should look" CALL weather {"city": "Tromsø \\"N\\"\\n", "days": 2}'
export const args = { city: 'Tromsø "N"\n', days: 2 }
export const reply = `The tool said: ${weather(args)}`

export const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
export const long = 'word '.repeat(400)  // more than the small model holds
export const overflow = /request \(\d+ tokens\) exceeds the available context size \(600 tokens\), try increasing it/

const get = async (base, path) => (await fetch(base + path, { headers })).text()
export const slots = async (base) => JSON.parse(await get(base, '/slots'))

// Waits for something that must come; the runner's limit ends a wait for what never does.
export const until = async (holds) => { while (!(await holds())) await new Promise((go) => setTimeout(go, 10)) }
export const idle = (base) => until(async () => !(await slots(base)).some((slot) => slot.is_processing))

// One request runs on the slow model and one waits for it: the next is refused. Returns how to end both.
export const fill = async (base) => {
  const stop = new AbortController()
  const ask = () => fetch(`${base}/api/chat`, {
    method: 'POST', headers, signal: stop.signal,
    body: JSON.stringify({ model: 'slow', messages: [{ role: 'user', content: 'COUNT 100000 ' }] })
  }).then((response) => response.text()).catch(() => {})
  await idle(base)
  const running = ask()
  await until(async () => (await slots(base)).some((slot) => slot.model === 'slow:latest' && slot.is_processing))
  const waiting = ask()
  await until(async () => /requests_deferred\{model="slow:latest"\} 1/.test(await get(base, '/metrics')))
  return async () => { stop.abort(); await Promise.all([running, waiting]); await idle(base) }
}

// fetch() for a client whose own way with refusals is looked at: notes statuses, and makes room after the first 503.
export const noting = (make_room) => {
  const statuses = []
  const noted = async (...request) => {
    const response = await fetch(...request)
    statuses.push(response.status)
    if (response.status === 503) {
      assert.equal(response.headers.get('retry-after'), '1')
      await make_room()
    }
    return response
  }
  return { statuses, fetch: noted }
}
