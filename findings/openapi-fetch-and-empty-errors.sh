#!/usr/bin/env bash
# A typed client in TypeScript takes a refusal without a body for a success.
#
# Software: openapi-fetch 0.17.0, types from openapi-typescript 7.13.0, TypeScript 5.9.3 in its strict mode. Seen on
# 2026-12-01 with Node 20.20.2.
#
# The client of openapi-fetch does not throw: it answers `{ data }` or `{ error }`, and its documentation says of `error`
# that it is "only present if 4XX or 5XX response". But `error` is the body, so that of an answer without one is `undefined`.
# Such answers are valid HTTP; hyper, for example, refuses broken and long heads so, with 400 and 431. A server answers 503:
#   with a problem document     `error` is the problem, as its type says
#   with text/plain             `error` is a string, its type says it is the problem: `error.code` is undefined
#   with `content-length: 0`    `error` is undefined; so is it for an empty body of which no length was told
# So `if (removed.error) throw ...` passes for a DELETE that was refused, and a GET has data for the compiler that is
# undefined when the program runs; `tsc --strict` has nothing to say. Ask `response.ok`, or whether `data` is undefined where
# the operation has a body.
# Reported to them: https://github.com/openapi-ts/openapi-typescript/issues/2530
#
# Runs without cfapi-broker, in a folder of its own. Needs Node 20, npm and its registry. Fails if the output differs from
# the above.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

cat > package.json <<'E'
{ "private": true, "type": "module",
  "dependencies": { "openapi-fetch": "0.17.0", "openapi-typescript": "7.13.0", "typescript": "5.9.3" } }
E
npm install --no-audit --no-fund --cache "$folder/cache" >npm.log 2>&1 || { cat npm.log; exit 1; }

cat > api.json <<'E'
{ "openapi": "3.1.0", "info": { "title": "things", "version": "1" },
  "paths": { "/thing": {
    "get": { "responses": {
      "200": { "description": "it", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } } },
      "default": { "$ref": "#/components/responses/Problem" } } },
    "delete": { "responses": {
      "204": { "description": "deleted" },
      "default": { "$ref": "#/components/responses/Problem" } } } } },
  "components": {
    "responses": { "Problem": { "description": "a refusal", "content": {
      "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } } },
    "schemas": {
      "Thing": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
      "Problem": { "type": "object", "required": ["code"], "properties": { "code": { "type": "string" } } } } } }
E
cat > server.mjs <<'E'
import http from 'node:http'
const answers = {
  problem: [{ 'content-type': 'application/problem+json' }, '{"code":"busy"}'],
  text: [{ 'content-type': 'text/plain' }, 'no healthy upstream'],
  empty: [{ 'content-length': '0' }],
  'empty, no length': [{ 'transfer-encoding': 'chunked' }],
}
const server = http.createServer((request, response) => {
  const [headers, body] = answers[request.headers.answer]
  response.writeHead(503, headers).end(body)
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
E
cat > show.ts <<'E'
import createClient from 'openapi-fetch'
import type { paths } from './schema.js'

declare const process: { argv: string[] }
const client = createClient<paths>({ baseUrl: `http://127.0.0.1:${process.argv[2]}` })
for (const answer of ['problem', 'text', 'empty', 'empty, no length']) {
  const headers = { answer }
  const removed = await client.DELETE('/thing', { headers })
  const deleted = removed.error ? `refused, ${removed.error.code}` : 'deleted'
  const read = await client.GET('/thing', { headers })
  let name: string
  try {
    // Here the compiler takes `read.data` for a Thing.
    name = read.error ? `refused, ${read.error.code}` : read.data.name
  } catch (error) {
    name = String(error)
  }
  console.log(`${answer}: DELETE ${deleted}; GET ${name}`)
  console.log(`  ok ${removed.response.ok}, data ${read.data}`)
}
E
cat > tsconfig.json <<'E'
{ "compilerOptions": { "strict": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true,
    "module": "nodenext", "target": "es2022", "lib": ["es2022", "dom", "dom.iterable"], "types": [] }, "files": ["show.ts"] }
E
node_modules/.bin/openapi-typescript api.json -o schema.d.ts >types.log 2>&1 || { cat types.log; exit 1; }
node_modules/.bin/tsc -p tsconfig.json

node server.mjs > port & server=$!
until [ -s port ]; do sleep 0.1; done
node show.js "$(cat port)" | tee seen

diff seen - <<'E'
problem: DELETE refused, busy; GET refused, busy
  ok false, data undefined
text: DELETE refused, undefined; GET refused, undefined
  ok false, data undefined
empty: DELETE deleted; GET TypeError: Cannot read properties of undefined (reading 'name')
  ok false, data undefined
empty, no length: DELETE deleted; GET TypeError: Cannot read properties of undefined (reading 'name')
  ok false, data undefined
E
echo "as described"
