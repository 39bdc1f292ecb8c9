// CPU of a view of /spaces as JSON, beside @sap/approuter that passes the same JSON on from a server which has it at hand.
//   bash tests/npm.sh clients/{node22,approuter}
//   cargo build --locked --profile bench --bin cfapi-broker && cargo build --locked
//   node benches/approuter.mjs
// The broker verifies the caller and has read the lists within the last 5 s, or reads them again. The approuter checks no
// caller and has no session: it only passes on. User and system time of each process; compare only ratios within one run.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { approuter } from '../tests/clients/lib/approuter.mjs'
import { ask, end, freePort, installed, landscape, root, start, until } from '../tests/clients/lib/landscape.mjs'

const SPACES = Number(process.env.SPACES ?? 2000)
const CALLS = Number(process.env.CALLS ?? 4000)
const AT_ONCE = 16
const TICKS = 100

/** Seconds of processor time that a process has used, in user space and in the system. */
function used(child) {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** Gets an address so many times over kept connections. */
async function load(url, headers, calls) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE })
  const one = () => new Promise((resolve, reject) => http.get(url, { agent, headers }, answer => {
    if (answer.statusCode !== 200) reject(new Error(`${url}: ${answer.statusCode}`))
    answer.on('end', resolve).resume()
  }).on('error', reject))
  let left = calls
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (left-- > 0) await one() }))
  agent.destroy()
}

/** Microseconds of a process for each call. */
async function cost(child, url, headers) {
  await load(url, headers, CALLS / 4)
  const before = used(child)
  await load(url, headers, CALLS)
  return (used(child) - before) / CALLS * 1e6
}

mkdirSync(installed, { recursive: true })
const folder = mkdtempSync(path.join(installed, 'run-bench-'))
mkdirSync(path.join(folder, 'web'))
writeFileSync(path.join(folder, 'xs-app.json'), JSON.stringify({
  routes: [{ source: '^/(.*)$', target: '/$1', destination: 'broker', authenticationType: 'none' }],
}))
const system = await landscape(0)
let broker, router, stored
try {
  await system.lever('fill', { spaces: SPACES, apps: SPACES, routes: 0 })
  const { access_token } = await system.lever('caller_token', { client: 'sb-viewer!t1', scopes: ['Spaces.Read'] })
  const headers = { authorization: `Bearer ${access_token}`, accept: 'application/json' }
  const port = await freePort()
  broker = start(path.join(root, 'target/release/cfapi-broker'), ['serve'], {
    PORT: String(port), CFAPI_SERVER__ADDRESS: '127.0.0.1',
    VCAP_SERVICES: system.vcap_services, VCAP_APPLICATION: system.vcap_application,
    // The whole load is one caller.
    CFAPI_AUTH__REQUESTS_PER_SECOND: '100000', CFAPI_AUTH__BURST: '1000000', CFAPI_AUTH__MAX_IN_FLIGHT: '4096',
  })
  const own = `http://127.0.0.1:${port}`
  await until('the broker is ready', () => ask('GET', `${own}/health/ready`).then(answer => answer.status === 200, () => false))
  let json = ''
  stored = http.createServer((_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(json)).listen(0, '127.0.0.1')
  await until('the server listens', () => stored.listening)
  router = await approuter(folder, undefined, { broker: `http://127.0.0.1:${stored.address().port}` })
  for (const [name, query] of [['100 rows', '?page=1&per_page=100'], [`all ${SPACES + 2} rows`, '']]) {
    json = (await ask('GET', `${own}/spaces${query}`, { headers })).text
    const ours = await cost(broker, `${own}/spaces${query}`, headers)
    const theirs = await cost(router.child, `${router.url}/spaces`, {})
    console.log(`${name}, ${json.length} bytes: broker ${ours.toFixed(0)} µs, approuter ${theirs.toFixed(0)} µs, 1/${(theirs / ours).toFixed(1)}`)
  }
} finally {
  await router?.stop()
  stored?.close()
  if (broker) await end(broker)
  await system.stop()
  rmSync(folder, { recursive: true, force: true })
}
