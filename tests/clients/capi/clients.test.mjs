// Clients that know nothing of the broker, pointed at it instead of the CF API: only URL and token are changed.
// The sandbox's journal is the witness that nobody but the broker, as the technical user, spoke to the CF API.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { app, ask, cloudFoundry, domain, installed, landscape, sources, start } from '../lib/landscape.mjs'

const node22 = path.join(installed, `node22/node_modules/node-linux-${process.arch}/bin/node`)
const script = name => path.join(sources, 'capi', name)
const clients = {
  'cloudfoundry-client 1.40.4 for Python': [path.join(installed, 'capi/venv/bin/python'), '-I', script('python.py')],
  '@cloudfoundry/api 0.1.7': [node22, script('cloudfoundry-api.cjs')],
  '@sap-cloud-sdk/http-client 4.9.1': [node22, script('cloud-sdk.cjs')],
}
/** As the journal shows a token. */
const mark = token => `sha256:${createHash('sha256').update(token).digest('hex').slice(0, 12)}`

describe('clients of the CF API', () => {
  let land
  before(async () => {
    land = await landscape(1)
    // Four spaces on four pages.
    const user = 'technical.user@example.test'
    for (const space of ['tspace', 'fspace']) await land.lever('set_role', { user, space, role: 'supporter' })
  })
  after(() => land?.stop())

  for (const [name, [command, ...args]] of Object.entries(clients)) {
    /** Runs the client with this URL and token and nothing else; returns what it saw. */
    const run = async (url, token) => {
      const vcap = JSON.parse(land.vcap_application)
      const authTokens = [{ type: 'bearer', value: token, expiresIn: '1199', error: null, http_header: { key: 'Authorization', value: `Bearer ${token}` } }]
      const child = start(command, args, {
        URL: url, TOKEN: token, APP: app, DOMAIN: domain, PACKAGES: path.join(installed, 'capi'),
        SPACE: vcap.space_id, ORGANIZATION: vcap.organization_id,
        destinations: JSON.stringify([{ name: 'CFAPI', url, authentication: 'OAuth2ClientCredentials', authTokens }]),
      })
      assert.equal(await child.ended, 0, child.text)
      return JSON.parse(child.text.trim().split('\n').at(-1))
    }

    describe(name, () => {
      let direct
      it('straight to the CF API does its work, and the witness notices', async () => {
        const { token } = await cloudFoundry(land)
        await land.forget()
        direct = await run(land.cf_api, token)
        isDone(direct, land.cf_api)
        await assert.rejects(onlyTheBroker(token), assert.AssertionError)
      })

      it('does and sees the same through the broker, and nothing passes by', async () => {
        const token = await land.token()
        await land.forget()
        const seen = await run(land.url, token)
        isDone(seen, land.url)
        assert.deepEqual(comparable(seen), comparable(direct))
        await onlyTheBroker(token)
      })
    })
  }

  it('a route that such code left behind is adopted by the first PUT, and leaves with the tenant', async () => {
    const headers = { authorization: `Bearer ${await land.token()}` }
    const { space_id } = JSON.parse(land.vcap_application)
    const [{ guid }] = (await ask('GET', `${land.url}/v3/domains?names=${domain}`, { headers })).json.resources
    const relationships = { space: { data: { guid: space_id } }, domain: { data: { guid } } }
    const left = await ask('POST', `${land.url}/v3/routes`, { headers, body: { host: `legacy-${app}`, relationships } })
    assert.equal(left.status, 201, left.text)
    const put = await ask('PUT', `${land.url}/routes/t-legacy`, { headers, body: { subdomain: 'legacy', app } })
    assert.equal(put.status, 200, put.text)
    assert.equal(put.json.outcome, 'adopted')
    assert.equal(put.json.route.guid, left.json.guid)
    assert.equal((await ask('DELETE', `${land.url}/routes/t-legacy`, { headers })).status, 204)
    assert.equal((await ask('GET', `${land.url}/v3/routes/${left.json.guid}`, { headers })).status, 404)
  })

  function isDone(saw, base) {
    assert.deepEqual(saw.spaces.toSorted(), ['dev', 'fspace', 'other', 'tspace'])
    assert.equal(saw.followed.filter(url => url.includes('/v3/spaces?page=')).length, 3, saw.followed.join('\n'))
    const [status, refusal] = saw.again
    assert.equal(status, 422)
    assert.equal(refusal.errors[0].code, 10008)
    assert.match(refusal.errors[0].detail, /already exists/)
    assert.equal(saw.mapped, 200)
    assert.deepEqual(saw.found, [saw.route])
    assert.deepEqual(saw.destinations, [true])
    assert.equal(saw.space, 'dev')
    assert.equal(saw.job, 'COMPLETE')
    assert.equal(saw.left, 0)
    for (const url of saw.followed) assert.ok(url.startsWith(`${base}/v3/`), url)
  }

  /** What one run saw, without what differs from run to run: guids, addresses, the request's own id. */
  function comparable({ route, found, followed, ...rest }) {
    return { ...rest, found: found.length, followed: new Set(followed.map(url => new URL(url).pathname.split('/')[2])) }
  }

  /** Every call of the CF API was the broker's, with the one token of the technical user; the caller's went nowhere. */
  async function onlyTheBroker(token) {
    const all = await land.journal()
    const cf = all.filter(call => call.part === 'cf')
    assert.ok(cf.length > 10, String(cf.length))
    assert.deepEqual([...new Set(cf.map(call => call.user_agent))].map(agent => agent?.replace(/\/\d.*/, '')), ['cfapi-broker'])
    // The last request whole: whose token it was, and that all others had the same.
    const wire = Buffer.from(await land.wire('cf')).toString()
    const [, bearer] = /^authorization: *bearer (\S+)/im.exec(wire)
    const claims = JSON.parse(Buffer.from(bearer.split('.')[1], 'base64url'))
    assert.equal(claims.user_name, 'technical.user@example.test')
    assert.deepEqual([...new Set(cf.map(call => call.authorization?.toLowerCase() ?? null))], [`bearer ${mark(bearer)}`])
    assert.notEqual(bearer, token)
    assert.deepEqual(all.filter(call => JSON.stringify(call).includes(mark(token))), [])
    assert.deepEqual(all.filter(call => !call.user_agent?.startsWith('cfapi-broker/')), [])
  }
})
