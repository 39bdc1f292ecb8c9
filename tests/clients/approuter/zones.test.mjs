// The real approuter finds the tenant in the hosts that the broker creates, and the broker accepts the JWT that it forwards.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it, before, after, beforeEach, afterEach } from 'node:test'
import { approuter, UAA_DOMAIN } from '../lib/approuter.mjs'
import { app, ask, installed, landscape, secure } from '../lib/landscape.mjs'

/** One provider app each: host template, domain, and the pattern of its approuter. */
const setups = [
  { client: 'sb-default!t1', template: '{subdomain}-{app}', domain: 'cfapps.example.test', pattern: '^(.*)-bookshop-approuter.cfapps.example.test' },
  { client: 'sb-space!t1', template: '{subdomain}-{space}-{app}', domain: 'cfapps.example.test', pattern: '^(.*)-dev-bookshop-approuter\\.cfapps\\.example\\.test$' },
  { client: 'sb-prefix!t1', template: 'route-prefix-{subdomain}', domain: 'cfapps.example.test', pattern: '^route-prefix-([a-z0-9-]+)\\.cfapps' },
  { client: 'sb-own!t1', template: '{subdomain}', domain: 'saas.example.test', pattern: '^([^.]+)\\.saas\\.example\\.test$' },
]
const capital = { client: 'sb-capital!t1', template: '{subdomain}-{app}', domain: 'cfapps.example.test', pattern: '^(.*)-Bookshop-approuter.cfapps.example.test' }

const entry = ({ client, template, domain, pattern }) => `[[providers]]
client_ids = ["${client}"]
organization = "provider-org"
space = "dev"
apps = ["${app}"]
domains = ["${domain}"]
host_template = "${template}"
tenant_host_pattern = '${pattern}'
`

describe('approuter 21.2.0', () => {
  let system, folder, router
  before(async () => {
    folder = mkdtempSync(path.join(installed, 'run-approuter-'))
    mkdirSync(path.join(folder, 'web'))
    writeFileSync(path.join(folder, 'web/index.html'), 'shop')
    writeFileSync(path.join(folder, 'xs-app.json'), JSON.stringify({ routes: [
      { source: '^/broker(/.*)$', target: '$1', destination: 'broker', authenticationType: 'xsuaa' },
      { source: '^/(.*)$', localDir: 'web', authenticationType: 'xsuaa' },
    ] }))
    const file = path.join(folder, 'broker.toml')
    writeFileSync(file, [...setups, capital].map(entry).join('\n'))
    system = await landscape(1, { CFAPI_CONFIG: file })
  })
  after(async () => {
    await system?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  afterEach(() => router?.stop())

  const put = async ({ client }, subdomain) => {
    const { access_token } = await system.lever('caller_token', { client, scopes: ['Routes.Read', 'Routes.Write'] })
    const headers = { authorization: `Bearer ${access_token}` }
    return ask('PUT', `${system.url}/routes/${subdomain}-id`, { headers, body: { subdomain } })
  }

  for (const setup of setups) {
    it(`${setup.template} on ${setup.domain} matches ${setup.pattern}`, async () => {
      router = await approuter(folder, setup.pattern)
      for (const subdomain of ['acme', 'acme-eu', 'GLOBEX']) {
        const made = await put(setup, subdomain)
        assert.equal(made.status, 201, made.text)
        const location = await router.logon(new URL(made.json.url).host)
        assert.ok(location.startsWith(`https://${subdomain.toLowerCase()}.${UAA_DOMAIN}/oauth/authorize?`), location)
      }
    })
  }

  it('a pattern with a capital letter finds no tenant, and the broker creates no such host', async () => {
    router = await approuter(folder, capital.pattern)
    const location = await router.logon(`acme-${app}.${capital.domain}`)
    assert.ok(location.startsWith(`https://${UAA_DOMAIN}/oauth/authorize?`), location)
    await system.forget()
    const refused = await put(capital, 'acme')
    assert.equal(refused.status, 422, refused.text)
    assert.equal(refused.json.code, 'host_pattern_mismatch')
    assert.deepEqual((await system.journal('cf')).filter(call => call.method !== 'GET'), [])
  })

  describe('a forwarded JWT', () => {
    const host = `acme-${app}.cfapps.example.test`
    let uaa
    before(async () => {
      // The approuter's library fetches keys only with https. XSUAA has the same keys for all zones.
      uaa = await secure(async (request, response) => {
        const { text } = await ask('GET', `${system.xsuaa}/token_keys`)
        response.writeHead(200, { 'content-type': 'application/json' }).end(text)
      })
    })
    after(() => uaa?.close())
    beforeEach(async () => {
      router = await approuter(folder, setups[0].pattern, { uaaDomain: uaa.domain, broker: system.url })
    })

    /** Calls the broker through the approuter with a token of a user who logged on at the approuter's own client. */
    const through = async (path, { scope = 'Spaces.Read', ...others } = {}) => {
      const [{ credentials: { xsappname } }] = JSON.parse(system.vcap_services).xsuaa
      const claims = {
        grant_type: 'authorization_code', cid: 'sb-bookshop!t4711', client_id: 'sb-bookshop!t4711', azp: 'sb-bookshop!t4711',
        user_name: 'ada@example.test', email: 'ada@example.test', origin: 'sap.default', user_id: 'ada', sub: 'ada',
        aud: [xsappname, 'bookshop!t4711', 'openid'], scope: ['openid', `${xsappname}.${scope}`],
        ext_attr: { enhancer: 'XSUAA', zdn: 'acme' }, ...others,
      }
      const { access_token } = await system.lever('caller_token', { claims })
      return router.get(path, { host, accept: 'application/json', 'x-approuter-authorization': `Bearer ${access_token}` })
    }

    it('belongs to the user and shows the user\'s spaces', async () => {
      const answer = await through('/broker/spaces')
      assert.equal(answer.status, 200, answer.text)
      assert.ok(answer.text.includes('"dev"'), answer.text)
    })

    it('counts only with its own scopes', async () => {
      const answer = await through('/broker/spaces', { scope: 'Routes.Read' })
      assert.equal(answer.status, 403, answer.text)
      assert.equal(JSON.parse(answer.text).code, 'forbidden_scope')
    })

    it('of a subscriber\'s zone passes the approuter but not the broker', async () => {
      const answer = await through('/broker/spaces', { zid: '11111111-0815-4711-8899-aabbccddeeff' })
      assert.equal(answer.status, 401, answer.text)
      assert.equal(JSON.parse(answer.text).code, 'unauthenticated')
    })

    it('does not exist before a logon', async () => {
      await system.forget()
      const answer = await router.get('/broker/spaces', { host, accept: 'application/json' })
      assert.ok([302, 401].includes(answer.status) || /location=/.test(answer.text), answer.text)
      assert.deepEqual(await system.journal('cf'), [])
    })
  })
})
