// A real approuter in its own process.
import http from 'node:http'
import path from 'node:path'
import { authority, end, freePort, installed, provider, start, until } from './landscape.mjs'

const node22 = path.join(installed, `node22/node_modules/node-linux-${process.arch}/bin/node`)
export const UAA_DOMAIN = 'authentication.example.test'

/**
 * Starts an approuter in this folder. `logon(host)` returns the address where a browser must log on; `get` is any call.
 * `pattern` finds the tenant in the host; without one there is a single tenant. `uaaDomain` is the domain of its XSUAA, `uaa`
 * the address, `broker` the address of its only destination, `release` the folder of its packages, `env` further variables,
 * `listen` its port.
 */
export async function approuter(folder, pattern, { uaaDomain = UAA_DOMAIN, uaa, broker, release = 'approuter', env = {}, listen } = {}) {
  const port = listen ?? await freePort()
  const xsuaa = {
    ...provider, xsappname: 'bookshop!t4711', identityzone: 'provider', uaadomain: uaaDomain,
    tenantmode: pattern ? 'shared' : 'dedicated',
    url: uaa ?? `https://provider.${uaaDomain}`, 'credential-type': 'binding-secret', verificationkey: 'none',
  }
  const child = start(node22, [path.join(installed, release, 'node_modules/@sap/approuter/approuter.js')], {
    PORT: String(port), TENANT_HOST_PATTERN: pattern, HOME: folder, NODE_EXTRA_CA_CERTS: authority,
    destinations: JSON.stringify([{ name: 'broker', url: broker ?? 'https://broker.example.test', forwardAuthToken: true }]),
    VCAP_SERVICES: JSON.stringify({ xsuaa: [{ name: 'auth', label: 'xsuaa', tags: ['xsuaa'], plan: 'application', credentials: xsuaa }] }),
    ...env,
  }, { cwd: folder })
  const get = (path, headers) => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, path, headers }, answer => {
      let text = ''
      answer.on('data', chunk => { text += chunk })
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }))
    }).on('error', reject)
  })
  // The approuter redirects a browser with a page whose script sets `location`.
  const logon = async host => {
    const { status, text } = await get('/', { host, accept: 'text/html' })
    return /;location="([^"]+)"/.exec(text)?.[1] ?? `status ${status}: ${text}`
  }
  try {
    await until('the approuter answers', async () => {
      if (child.exitCode !== null) throw new Error(`the approuter ended:\n${child.text}`)
      return logon('localhost').catch(() => null)
    })
  } catch (error) {
    await end(child)
    throw error
  }
  return { url: `http://localhost:${port}`, logon, get, child, stop: () => end(child) }
}
