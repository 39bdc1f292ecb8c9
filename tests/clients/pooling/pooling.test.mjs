// Callers that are refused before their body was read, and the next request on their connection: Go's own reverse proxy,
// whose connections all callers share, and Python's http.client.
import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { app, ask, installed, landscape, start } from '../lib/landscape.mjs'

const TIMES = 24

describe('a connection after a refusal', () => {
  let system
  before(async () => { system = await landscape(1, { CFAPI_AUTH__REQUESTS_PER_SECOND: '1000', CFAPI_AUTH__BURST: '2000' }) })
  after(() => system?.stop())

  it('httputil.ReverseProxy: a body that comes later does not break the next request of another caller', async () => {
    const body = { subdomain: 'pooled', app }
    const token = await system.token()
    const made = await ask('PUT', `${system.url}/routes/t-pooled`, { headers: { authorization: `Bearer ${token}` }, body })
    assert.equal(made.status, 201, made.text)
    const { access_token: reader } = await system.lever('caller_token', { client: 'sb-bookshop!t4711', scopes: ['Routes.Read'] })
    const child = start(path.join(installed, 'go/bin/pooling'), [], {
      URL: system.url, TOKEN: token, READER: reader, BODY: JSON.stringify(body), TIMES: String(TIMES),
    })
    assert.equal(await child.ended, 0, child.text)
    const results = JSON.parse(child.text.trim().split('\n').at(-1))
    assert.equal(results.length, 24)
    const wanted = results.map(one => ({ ...one, early: { [one.refused]: TIMES }, valid: { 200: TIMES } }))
    assert.deepEqual(results, wanted, child.text)
  })

  it('http.client: the next request on the connection is served', async () => {
    const child = start('python3', ['tests/clients/pooling/early.py', system.url, await system.token()], {})
    assert.equal(await child.ended, 0, child.text)
  })
})
