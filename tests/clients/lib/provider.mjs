// A CAP provider app in its own process, and the parts of SAP BTP that call it: SaaS registry and Subscription Manager.
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { app, ask, end, freePort, installed, provider, sources, start, until } from './landscape.mjs'

/** A certificate as the Subscription Manager sends one; base64 of DER. Made for these tests; its key was not kept. */
const CERTIFICATE =
  'MIICCzCCAbGgAwIBAgIUdq7i5XNqsyZxg0SbKTyHXfitUsIwCgYIKoZIzj0EAwIwWjELMAkGA1UEBhMCREUxDTALBgNVBAoMBFRlc3QxHTAbBgNVBAsMFFN1Yn' +
  'NjcmlwdGlvbiBNYW5hZ2VyMR0wGwYDVQQDDBRtYW5hZ2VyLmV4YW1wbGUudGVzdDAgFw0yNjExMjUwNDMwNTdaGA8yMTI2MTEwMTA0MzA1N1owWjELMAkGA1UE' +
  'BhMCREUxDTALBgNVBAoMBFRlc3QxHTAbBgNVBAsMFFN1YnNjcmlwdGlvbiBNYW5hZ2VyMR0wGwYDVQQDDBRtYW5hZ2VyLmV4YW1wbGUudGVzdDBZMBMGByqGSM' +
  '49AgEGCCqGSM49AwEHA0IABESDYtVdVdbQxtoE6YTkUK/ACzrKtUlvsJh03lFreGU7XnM7tblSaD2stWrTFbaMzOfDrA46oRuH5tQJ34ZgZqWjUzBRMB0GA1Ud' +
  'DgQWBBRsnZp9iPNZlo2bx7pLADwzcMDe5DAfBgNVHSMEGDAWgBRsnZp9iPNZlo2bx7pLADwzcMDe5DAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAME' +
  'UCIHqmj0F2gDBNokCNGwac9kTJFjvMW/6eqX+TTeW5Mc9FAiEAkPiFyvsaKVSWbLe/wFSOMCaSzLPwq5+O2rbrR2HzRMM='
const SUBJECT = JSON.stringify({ C: 'DE', O: 'Test', OU: ['Subscription Manager'], CN: '*' })

const BASIC = `Basic ${Buffer.from('registry:test-only').toString('base64')}`

/** The two services of SAP BTP that tell a provider app about subscriptions. */
export const channels = {
  'SaaS registry': {
    service: 'saas-provisioning',
    headers: { authorization: BASIC },
    payload: (tenant, subdomain, eventType) => ({
      subscriptionAppId: 'bookshop!t4711', subscriptionAppName: 'bookshop', subscribedTenantId: tenant,
      subscribedSubaccountId: tenant, subscribedSubdomain: subdomain, globalAccountGUID: '0b5f0b0c-7a70-4a63-8a4c-3a2bb5e1d111',
      subscribedLicenseType: 'DEVELOPER', eventType,
    }),
    url: answer => answer.text,
    contentType: 'text/plain',
    urlInCallback: body => body.subscriptionUrl,
  },
  'Subscription Manager': {
    service: 'sms-provisioning',
    headers: { 'x-forwarded-client-cert': CERTIFICATE, authorization: BASIC },
    payload: (tenant, subdomain, eventType) => ({
      subscriber: {
        app_tid: tenant, subaccountSubdomain: subdomain, subaccountId: tenant, zoneId: tenant, licenseType: 'DEVELOPER',
        globalAccountId: '0b5f0b0c-7a70-4a63-8a4c-3a2bb5e1d111',
      },
      rootApplication: { appName: 'bookshop', commercialAppName: 'bookshop' },
      eventType,
    }),
    url: answer => answer.json?.applicationURL,
    contentType: 'application/json',
    urlInCallback: body => body.applicationUrl,
  },
}

/** Receives the callbacks of asynchronous subscriptions; `callback(id)` waits for one. */
async function callbacks() {
  const got = new Map()
  const server = http.createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    got.set(request.url, { method: request.method, authorization: request.headers.authorization, body: JSON.parse(text) })
    response.writeHead(200).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    callback: id => until(`callback ${id}`, async () => got.get(id), 90),
    close: () => { server.closeAllConnections(); server.close() },
  }
}

/** Starts the app in a copy of its folder, with its bindings and one user for each of these tenants. */
export async function providerApp(version, node, system, tenants = []) {
  const folder = mkdtempSync(path.join(installed, `run-${version}-`))
  cpSync(path.join(sources, 'cap/app'), folder, { recursive: true })
  cpSync(path.join(sources, 'cap', version, 'package.json'), path.join(folder, 'package.json'))
  symlinkSync(path.join(installed, 'cap', version, 'node_modules'), path.join(folder, 'node_modules'))
  const registry = await callbacks()
  const client = { ...provider, url: system.xsuaa }
  const certificate = { callback_certificate_issuer: SUBJECT, callback_certificate_subject: SUBJECT }
  const bindings = {
    xsuaa: { ...client, xsappname: 'bookshop!t4711' },
    'saas-registry': { ...client, saas_registry_url: registry.url, appName: 'bookshop' },
    'subscription-manager': { ...client, ...certificate, subscription_manager_url: registry.url },
  }
  const services = Object.entries(bindings).map(([label, credentials]) => [label, [{ name: `bookshop-${label}`, label, tags: [label], plan: 'application', credentials }]])
  const port = await freePort()
  const child = start(node, ['node_modules/@sap/cds/bin/serve.js'], {
    NODE_ENV: 'production', PORT: String(port), HOST: '127.0.0.1', HOME: folder,
    VCAP_SERVICES: JSON.stringify(Object.fromEntries(services)),
    CFAPI_BROKER_URL: system.url, CFAPI_BROKER_APP: app,
    CDS_CONFIG: JSON.stringify({ requires: { auth: { users: Object.fromEntries(tenants.map(tenant => [tenant, { password: 'test-only', tenant }])) } } }),
  }, { cwd: folder })
  const url = `http://127.0.0.1:${port}`
  const stop = async () => {
    registry.close()
    await end(child)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await until('the CAP app answers', async () => {
      if (child.exitCode !== null) throw new Error(`the CAP app ended:\n${child.text}`)
      return ask('GET', `${url}/health`).then(answer => answer.status === 200, () => false)
    }, 90)
  } catch (error) {
    await stop()
    throw error
  }

  const call = (channel, method, tenant, body, headers) =>
    ask(method, `${url}/-/cds/${channel.service}/tenant/${tenant}`, { body, headers: { ...channel.headers, ...headers } })
  return {
    url,
    registry,
    child,
    subscribe: (channel, tenant, subdomain, { eventType = 'CREATE', headers } = {}) =>
      call(channel, 'PUT', tenant, channel.payload(tenant, subdomain, eventType), headers),
    unsubscribe: (channel, tenant, { headers } = {}) => call(channel, 'DELETE', tenant, undefined, headers),
    tenant: (channel, tenant) => call(channel, 'GET', tenant),
    job: job => until(`job ${job}`, async () => {
      const answer = await ask('GET', `${url}/-/cds/jobs/pollJob(ID='${job}')`, { headers: { authorization: BASIC } })
      if (answer.status !== 200) throw new Error(`job ${job}: ${answer.status} ${answer.text}`)
      return ['QUEUED', 'RUNNING'].includes(answer.json.status) ? null : answer.json.status
    }),
    /** Reads from the tenant's database, as a user of the tenant. */
    read: tenant => ask('GET', `${url}/odata/v4/catalog/Books`, {
      headers: { authorization: `Basic ${Buffer.from(`${tenant}:test-only`).toString('base64')}` },
    }),
    stop,
  }
}
