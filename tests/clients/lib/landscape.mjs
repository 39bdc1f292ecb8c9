// A landscape, brokers in their own processes, and one address for them. Everything ends with `stop()`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import http from 'node:http'
import https from 'node:https'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of this repository. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')
const program = path.join(root, 'target/debug/cfapi-broker')

/** The folder into which the packages were installed. */
export const installed = path.join(root, 'target/clients')
export const sources = path.join(root, 'tests/clients')

/** The sandbox's first provider app, as in its XSUAA binding. */
export const provider = { clientid: 'sb-bookshop!t4711', clientsecret: 'sandbox-only-bookshop-secret' }
export const app = 'bookshop-approuter'
export const domain = 'cfapps.example.test'

const running = new Set()
process.on('exit', () => running.forEach(child => child.kill('SIGKILL')))

/** Starts a program with only this environment. Its output is in `text`. */
export function start(command, args, env, options = {}) {
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'], ...options })
  running.add(child)
  child.text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { child.text += chunk })
  child.ended = once(child, 'exit').then(([code]) => { running.delete(child); return code })
  return child
}

/** Ends a child; kills it if it does not end. */
export async function end(child) {
  child.kill('SIGTERM')
  const killer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await child.ended
  clearTimeout(killer)
}

/** Repeats the question until the answer is true. The long limit is only against hanging. */
export async function until(what, question, seconds = 60, pause = 50) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const answer = await question()
    if (answer) return answer
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, pause))
  }
}

let next = process.pid * 97

/**
 * Returns a port that was free a moment ago, a different one each time. It is below the ports that the system gives to
 * connections and to port 0, so that no other program gets it meanwhile.
 */
export async function freePort() {
  for (;;) {
    const port = 20_000 + next++ % 10_000
    const server = net.createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(() => true, () => false)
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

/** One call with JSON. Redirects are not followed. */
export async function ask(method, url, { body, headers = {} } = {}) {
  const answer = await fetch(url, {
    method,
    redirect: 'manual',
    signal: AbortSignal.timeout(90_000),
    headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
    body: body && JSON.stringify(body),
  })
  const text = await answer.text()
  let json
  try { json = JSON.parse(text) } catch { json = null }
  return { status: answer.status, headers: answer.headers, text, json }
}

const certificates = path.join(root, 'src/upstream/certificates')

/** The certificate authority of `secure`. */
export const authority = path.join(certificates, 'authority.pem')

/** A server with TLS, for clients that need https. */
export async function secure(handler) {
  const [key, cert] = ['localhost.key', 'localhost.pem'].map(file => readFileSync(path.join(certificates, file)))
  const server = https.createServer({ key, cert }, handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const domain = `localhost:${server.address().port}`
  return { domain, url: `https://${domain}`, close: () => { server.closeAllConnections(); server.close() } }
}

/** A load balancer that gives each request to the next broker, as the platform's router does. */
async function balancer(targets) {
  let turn = 0
  const counts = targets.map(() => 0)
  const server = http.createServer((request, response) => {
    const index = turn++ % targets.length
    counts[index]++
    const { hostname, port } = new URL(targets[index])
    const onward = http.request({ hostname, port, method: request.method, path: request.url, headers: request.headers }, answer => {
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.writeHead(502).end())
    request.pipe(onward)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${server.address().port}`, counts, close: () => { server.closeAllConnections(); server.close() } }
}

/** Starts the landscape and this many brokers. `url` is the common address. */
export async function landscape(instances = 1, settings = {}) {
  const sandbox = start(program, ['sandbox', '--landscape-only', '--port-base', '0', '--json'], {}, { cwd: installed })
  const line = await Promise.race([once(createInterface({ input: sandbox.stdout }), 'line'), sandbox.ended])
  if (!Array.isArray(line)) throw new Error(`the sandbox ended:\n${sandbox.text}`)
  const addresses = JSON.parse(line[0])
  const brokers = []
  const broker = async port => {
    const child = start(program, ['serve'], {
      PORT: String(port),
      CFAPI_SERVER__ADDRESS: '127.0.0.1',
      VCAP_SERVICES: addresses.vcap_services,
      VCAP_APPLICATION: addresses.vcap_application,
      ...settings,
    }, { cwd: installed })
    child.url = `http://127.0.0.1:${port}`
    const ready = () => ask('GET', `${child.url}/health/ready`).then(answer => answer.status === 200, () => false)
    await until('broker ready', async () => {
      if (child.exitCode !== null) throw new Error(`the broker ended:\n${child.text}`)
      return ready()
    })
    return child
  }
  for (let n = 0; n < instances; n++) brokers.push(await broker(await freePort()))
  const balanced = instances > 1 ? await balancer(brokers.map(child => child.url)) : { url: brokers[0]?.url, counts: [], close() {} }

  const lever = async (name, args = {}) => {
    const answer = await ask('POST', `${addresses.levers}/${name}`, { body: args })
    if (answer.status !== 200) throw new Error(`${name}: ${answer.text}`)
    return answer.json
  }
  return {
    ...addresses,
    sandbox,
    brokers,
    url: balanced.url,
    counts: balanced.counts,
    lever,
    journal: async part => (await ask('GET', `${addresses.levers}/journal`)).json.requests.filter(entry => !part || entry.part === part),
    /** The last request of a part, byte for byte. */
    wire: async part => (await ask('GET', `${addresses.levers}/wire/${part}`)).text,
    forget: () => ask('DELETE', `${addresses.levers}/journal`),
    /** Waits until every broker calls the CF API again. */
    healed: async () => {
      const headers = { authorization: `Bearer ${await clientToken(addresses.xsuaa, provider)}` }
      for (const child of brokers) {
        await until('the CF API is called again', async () => (await ask('GET', `${child.url}/routes`, { headers })).status === 200, 90, 500)
      }
    },
    token: () => clientToken(addresses.xsuaa, provider),
    stop: async () => {
      balanced.close()
      await Promise.all([...brokers, sandbox].map(end))
    },
  }
}

/** Returns a client-credentials token of an XSUAA client. */
export async function clientToken(xsuaa, { clientid, clientsecret }) {
  const body = new URLSearchParams({ grant_type: 'client_credentials', client_id: clientid, client_secret: clientsecret })
  const answer = await fetch(`${xsuaa}/oauth/token`, { method: 'POST', body })
  if (!answer.ok) throw new Error(`token: ${answer.status} ${await answer.text()}`)
  return (await answer.json()).access_token
}

/** Calls the CF API directly, with its own token of the technical user. */
export async function cloudFoundry({ uaa, cf_api }) {
  const body = new URLSearchParams({
    grant_type: 'password', username: 'technical.user@example.test', password: 'sandbox-only-p&ss w=rd%ü',
    login_hint: '{"origin":"sandbox-platform"}',
  })
  const answer = await fetch(`${uaa}/oauth/token`, { method: 'POST', body, headers: { authorization: 'Basic Y2Y6' } })
  if (!answer.ok) throw new Error(`token: ${answer.status} ${await answer.text()}`)
  const token = (await answer.json()).access_token
  const get = async path => {
    const read = await ask('GET', cf_api + path, { headers: { authorization: `bearer ${token}` } })
    if (read.status !== 200) throw new Error(`${path}: ${read.status} ${read.text}`)
    return read.json
  }
  const apps = new Map((await get('/v3/apps?per_page=100')).resources.map(found => [found.guid, found.name]))
  return {
    token,
    get,
    /** The routes with these hosts, each with the names of its apps. */
    routes: async (...hosts) => {
      const { resources } = await get(`/v3/routes?per_page=1000&hosts=${hosts.map(host => `${host}-${app}`).join(',')}`)
      return resources.map(route => ({
        guid: route.guid, url: route.url, labels: route.metadata.labels,
        apps: route.destinations.map(destination => apps.get(destination.app.guid)),
      }))
    },
  }
}
