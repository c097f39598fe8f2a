// SPDX-License-Identifier: MIT
// Stands between a client and a server and keeps the client's requests as recording.mjs writes them.
//
//   node record.mjs UPSTREAM FOLDER NAME      prints its own address
import fs from 'node:fs'
import http from 'node:http'
import { write } from './recording.mjs'

const [upstream, folder, name] = process.argv.slice(2)
fs.mkdirSync(folder, { recursive: true })
let count = 0
const server = http.createServer((request, reply) => {
  const pieces = []
  request.on('data', (piece) => pieces.push(piece))
  request.on('end', () => {
    const body = Buffer.concat(pieces)
    if (request.method === 'POST' && body.length > 2)
      write(`${folder}/${name}_${++count}.json`, { path: request.url, headers: request.headers, body })
    const headers = { ...request.headers }
    delete headers.host
    const passed = http.request(upstream + request.url, { method: request.method, headers }, (answer) => {
      reply.writeHead(answer.statusCode, answer.headers)
      answer.pipe(reply)
    })
    passed.on('error', () => reply.destroy())
    reply.on('close', () => passed.destroy())
    passed.end(body)
  })
})
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
