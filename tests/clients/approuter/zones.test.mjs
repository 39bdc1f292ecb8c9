// Does the real approuter find the tenant in the hosts that the broker makes?
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { describe, it, before, after, afterEach } from 'node:test'
import { app, ask, end, freePort, installed, landscape, start, until } from '../lib/landscape.mjs'

const node22 = path.join(installed, `node22/node_modules/node-linux-${process.arch}/bin/node`)
const UAA_DOMAIN = 'authentication.example.test'

/** One provider app each: host template, domain, and the pattern that its approuter would have. */
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

/** Starts an approuter with this pattern; `logon(host)` tells where it sends a browser to log on. */
async function approuter(folder, pattern) {
  const port = await freePort()
  const xsuaa = {
    clientid: 'sb-bookshop!t4711', clientsecret: 'sandbox-only-bookshop-secret', xsappname: 'bookshop!t4711', identityzone: 'provider',
    tenantmode: 'shared', uaadomain: UAA_DOMAIN, url: `https://provider.${UAA_DOMAIN}`, 'credential-type': 'binding-secret', verificationkey: 'none',
  }
  const child = start(node22, [path.join(installed, 'approuter/node_modules/@sap/approuter/approuter.js')], {
    PORT: String(port), TENANT_HOST_PATTERN: pattern, HOME: folder,
    VCAP_SERVICES: JSON.stringify({ xsuaa: [{ name: 'auth', label: 'xsuaa', tags: ['xsuaa'], plan: 'application', credentials: xsuaa }] }),
  }, { cwd: folder })
  // The approuter sends a browser on by a page whose script sets `location`.
  const logon = host => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, path: '/', headers: { host, accept: 'text/html' } }, answer => {
      let text = ''
      answer.on('data', chunk => { text += chunk })
      answer.on('end', () => resolve(/;location="([^"]+)"/.exec(text)?.[1] ?? `status ${answer.statusCode}: ${text}`))
    }).on('error', reject)
  })
  try {
    await until('the approuter answers', async () => {
      if (child.exitCode !== null) throw new Error(`the approuter ended:\n${child.text}`)
      return logon('localhost').catch(() => null)
    })
  } catch (error) {
    await end(child)
    throw error
  }
  return { logon, stop: () => end(child) }
}

describe('approuter 21.2.0', () => {
  let land, folder, router
  before(async () => {
    folder = mkdtempSync(path.join(installed, 'run-approuter-'))
    mkdirSync(path.join(folder, 'web'))
    writeFileSync(path.join(folder, 'web/index.html'), 'shop')
    writeFileSync(path.join(folder, 'xs-app.json'), JSON.stringify({ routes: [{ source: '^/(.*)$', localDir: 'web', authenticationType: 'xsuaa' }] }))
    const file = path.join(folder, 'broker.toml')
    writeFileSync(file, [...setups, capital].map(entry).join('\n'))
    land = await landscape(1, { CFAPI_CONFIG: file })
  })
  after(async () => {
    await land?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  afterEach(() => router?.stop())

  const put = async ({ client }, subdomain) => {
    const { access_token } = await land.lever('caller_token', { client, scopes: ['Routes.Read', 'Routes.Write'] })
    const headers = { authorization: `Bearer ${access_token}` }
    return ask('PUT', `${land.url}/routes/${subdomain}-id`, { headers, body: { subdomain } })
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

  it('a pattern with a capital letter finds no tenant, and the broker makes no such host', async () => {
    router = await approuter(folder, capital.pattern)
    const location = await router.logon(`acme-${app}.${capital.domain}`)
    assert.ok(location.startsWith(`https://${UAA_DOMAIN}/oauth/authorize?`), location)
    await land.forget()
    const refused = await put(capital, 'acme')
    assert.equal(refused.status, 422, refused.text)
    assert.equal(refused.json.code, 'host_pattern_mismatch')
    assert.deepEqual((await land.journal('cf')).filter(call => call.method !== 'GET'), [])
  })
})
