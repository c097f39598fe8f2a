// SPDX-License-Identifier: MIT
// Requests of real clients as files: what they say in words is replaced by its length, what is structure stays. So a
// recording holds nobody's texts, is small, and still has every field, every type and the size of the real one.
import fs from 'node:fs'
import zlib from 'node:zlib'

const kept = 24  // texts up to this length stay: they are names, types and switches
const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const structural = new Set(['type', 'role', 'name', 'id', 'tool_use_id', 'call_id', 'tool_call_id', 'model', 'media_type',
  'tool_name', 'namespace', 'status', 'effort', '$schema', '$ref', 'pattern', 'format', 'execution', 'syntax'])

// reduce(body): the same with "<123>" where 123 characters stood. Tools, schemas and calls keep their keys and enums.
export function reduce (value, key = '') {
  if (typeof value === 'string') {
    if (key === 'data' || key === 'image_url' || key === 'url') return value.startsWith('data:') ? 'data:image/png;base64,<png>' : key === 'data' ? '<png>' : `<${value.length}>`
    if (key === 'arguments') return JSON.stringify(reduce(parsed(value)))
    return structural.has(key) || value.length <= kept ? value : `<${value.length}>`
  }
  if (Array.isArray(value)) return value.map((one) => reduce(one, key === 'enum' || key === 'required' ? 'name' : key))
  if (value === null || typeof value !== 'object') return value
  if (key === 'metadata' || key === 'client_metadata') return Object.fromEntries(Object.keys(value).map((k) => [k, '<36>']))
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, reduce(v, k)]))
}
const parsed = (text) => { try { return JSON.parse(text) } catch { return { input: text } } }

// restore(body): words of the same length again, the same each time.
export function restore (value) {
  if (typeof value === 'string')
    return value.replaceAll('<png>', png).replace(/<(\d+)>/g, (_, n) => 'some words of a text that somebody wrote. '.repeat(Math.ceil(n / 42)).slice(0, n))
  if (Array.isArray(value)) return value.map(restore)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, restore(v)]))
}

// A request as it came, as a file. Only headers that say how the body is to be read are kept.
export function write (file, { path, headers, body }) {
  const encoding = headers['content-encoding']
  const plain = encoding === 'zstd' ? zlib.zstdDecompressSync(body) : encoding === 'gzip' ? zlib.gunzipSync(body) : body
  const said = Object.fromEntries(Object.entries(headers).filter(([name]) => /^(anthropic-|openai-beta|accept$)/.test(name)))
  fs.writeFileSync(file, JSON.stringify({ path, headers: said, body: reduce(JSON.parse(plain)) }, null, 1) + '\n')
}
