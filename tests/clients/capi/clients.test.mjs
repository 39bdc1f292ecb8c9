// Unchanged clients of the CF API, used with the broker: only URL and token change.
// The sandbox's journal proves that only the broker, as the technical user, called the CF API.
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
  'go-cfclient v3.0.0-beta.1 for Go': [path.join(installed, 'go/bin/cfclient')],
  'cloudfoundry-client-reactor 5.15.0 for Java': ['java', '-cp', path.join(installed, 'java/classes') + ':' + path.join(installed, 'java/lib/*'), 'Client'],
}
/** A token as the journal shows it. */
const mark = token => `sha256:${createHash('sha256').update(token).digest('hex').slice(0, 12)}`

describe('clients of the CF API', () => {
  let system
  before(async () => {
    system = await landscape(1)
    // Four spaces on four pages.
    const user = 'technical.user@example.test'
    for (const space of ['tspace', 'fspace']) await system.lever('set_role', { user, space, role: 'supporter' })
  })
  after(() => system?.stop())

  for (const [name, [command, ...args]] of Object.entries(clients)) {
    /** Runs the client with this URL and token; returns its results. */
    const run = async (url, token, more = {}) => {
      const vcap = JSON.parse(system.vcap_application)
      const authTokens = [{ type: 'bearer', value: token, expiresIn: '1199', error: null, http_header: { key: 'Authorization', value: `Bearer ${token}` } }]
      const child = start(command, args, {
        URL: url, TOKEN: token, APP: app, DOMAIN: domain, PACKAGES: path.join(installed, 'capi'),
        SPACE: vcap.space_id, ORGANIZATION: vcap.organization_id, ...more,
        destinations: JSON.stringify([{ name: 'CFAPI', url, authentication: 'OAuth2ClientCredentials', authTokens }]),
      })
      assert.equal(await child.ended, 0, child.text)
      return JSON.parse(child.text.trim().split('\n').at(-1))
    }

    describe(name, () => {
      let direct
      it('does its work directly with the CF API, and the journal shows it', async () => {
        const { token } = await cloudFoundry(system)
        await system.forget()
        direct = await run(system.cf_api, token)
        isDone(direct, system.cf_api)
        await assert.rejects(onlyTheBroker(token), assert.AssertionError)
      })

      it('gets the same results through the broker, and only the broker calls the CF API', async () => {
        const token = await system.token()
        await system.forget()
        const seen = await run(system.url, token)
        isDone(seen, system.url)
        assert.deepEqual(comparable(seen), comparable(direct))
        await onlyTheBroker(token)
      })

      if (['Go', 'Java'].some(language => name.endsWith(` for ${language}`))) {
        it('shows the text of a refusal by the broker', async () => {
          const token = await system.token()
          const headers = { authorization: `Bearer ${token}` }
          const [{ guid }] = (await ask('GET', `${system.url}/v3/apps?names=${app}`, { headers })).json.resources
          const refused = await ask('GET', `${system.url}/v3/apps/${guid}/env`, { headers })
          assert.equal(refused.status, 403, refused.text)
          const { message } = await run(system.url, token, { REFUSED: 'true' })
          assert.ok(message.includes(refused.json.detail), message)
        })
      }
    })
  }

  it('the first PUT adopts a route that such code left behind, and the DELETE of the tenant removes it', async () => {
    const headers = { authorization: `Bearer ${await system.token()}` }
    const { space_id } = JSON.parse(system.vcap_application)
    const [{ guid }] = (await ask('GET', `${system.url}/v3/domains?names=${domain}`, { headers })).json.resources
    const relationships = { space: { data: { guid: space_id } }, domain: { data: { guid } } }
    const left = await ask('POST', `${system.url}/v3/routes`, { headers, body: { host: `legacy-${app}`, relationships } })
    assert.equal(left.status, 201, left.text)
    const put = await ask('PUT', `${system.url}/routes/t-legacy`, { headers, body: { subdomain: 'legacy', app } })
    assert.equal(put.status, 200, put.text)
    assert.equal(put.json.outcome, 'adopted')
    assert.equal(put.json.route.guid, left.json.guid)
    assert.equal((await ask('DELETE', `${system.url}/routes/t-legacy`, { headers })).status, 204)
    assert.equal((await ask('GET', `${system.url}/v3/routes/${left.json.guid}`, { headers })).status, 404)
  })

  function isDone(saw, base) {
    assert.deepEqual(saw.spaces.toSorted(), ['dev', 'fspace', 'other', 'tspace'])
    const pages = saw.followed.map(url => new URL(url)).filter(url => url.pathname === '/v3/spaces').map(url => url.searchParams.get('page'))
    assert.deepEqual(pages.filter(page => page > 1).toSorted(), ['2', '3', '4'], saw.followed.join('\n'))
    const [status, refusal] = saw.again
    assert.equal(status, 422)
    assert.equal(refusal.errors[0].code, 10008)
    assert.match(refusal.errors[0].detail, /already exists/)
    assert.equal(saw.mapped, 200)
    assert.deepEqual(saw.found, [saw.route])
    assert.deepEqual(saw.destinations, [true])
    assert.equal(saw.space, 'dev')
    // Some packages have calls for these.
    if ('reserved' in saw) assert.deepEqual([saw.reserved, saw.unmapped], [true, 0])
    assert.equal(saw.job, 'COMPLETE')
    assert.equal(saw.left, 0)
    for (const url of saw.followed) assert.ok(url.startsWith(`${base}/v3/`), url)
  }

  /** The results of one run without what differs between runs: guids, addresses, order of pages that are read at once. */
  function comparable({ route, found, followed, spaces, ...rest }) {
    return { ...rest, spaces: spaces.toSorted(), found: found.length, followed: new Set(followed.map(url => new URL(url).pathname.split('/')[2])) }
  }

  /** The broker made every call of the CF API, with the token of the technical user. The caller's token was never forwarded. */
  async function onlyTheBroker(token) {
    const all = await system.journal()
    const cf = all.filter(call => call.part === 'cf')
    assert.ok(cf.length > 10, String(cf.length))
    assert.deepEqual([...new Set(cf.map(call => call.user_agent))].map(agent => agent?.replace(/\/\d.*/, '')), ['cfapi-broker'])
    // The last request in full: it has the token of the technical user, and all other requests have the same token.
    const wire = Buffer.from(await system.wire('cf')).toString()
    const [, bearer] = /^authorization: *bearer (\S+)/im.exec(wire)
    const claims = JSON.parse(Buffer.from(bearer.split('.')[1], 'base64url'))
    assert.equal(claims.user_name, 'technical.user@example.test')
    assert.deepEqual([...new Set(cf.map(call => call.authorization?.toLowerCase() ?? null))], [`bearer ${mark(bearer)}`])
    assert.notEqual(bearer, token)
    assert.deepEqual(all.filter(call => JSON.stringify(call).includes(mark(token))), [])
    assert.deepEqual(all.filter(call => !call.user_agent?.startsWith('cfapi-broker/')), [])
  }
})
