// Runs the tools against a broker with its sandbox: a linter, two generated clients, schemathesis. Ends with the first that
// fails. `.ci/api.sh` installs and generates before.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { ask, end, root, start, until } from '../clients/lib/landscape.mjs'

const built = path.join(root, 'target/api')
const SCOPES = ['Routes.Read', 'Routes.Write', 'Routes.Admin', 'Spaces.Read', 'Metrics.Read', 'Api.Proxy']
// All requests are one caller's.
const limits = { CFAPI_AUTH__REQUESTS_PER_SECOND: '100000', CFAPI_AUTH__BURST: '1000000', CFAPI_AUTH__MAX_IN_FLIGHT: '4096' }

const child = start(path.join(root, 'target/debug/cfapi-broker'), ['sandbox', '--port-base', '0'], limits)
try {
  await until('the sandbox prints where to go', () => child.text.includes('stop with Ctrl-C'))
  const [, broker] = /^ *broker +(\S+)/m.exec(child.text)
  const [, levers] = /^ *levers +(\S+)/m.exec(child.text)
  const body = { client: 'sb-bookshop!t4711', scopes: SCOPES }
  const { access_token: token } = (await ask('POST', `${levers}/caller_token`, { body })).json
  const run = (name, command, args) => {
    const begin = Date.now()
    const { status } = spawnSync(command, args, { cwd: built, stdio: 'inherit', env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' } })
    console.log(`-- ${name}: ${status === 0 ? 'ok' : `exit ${status}`}, ${Math.round((Date.now() - begin) / 1000)} s`)
    if (status !== 0) throw new Error(`${name} failed`)
  }
  run('linter', 'node_modules/.bin/redocly', ['lint', '--config', path.join(root, 'tests/api/redocly.yaml'), '--max-problems', '20', path.join(root, 'docs/openapi.json')])
  run('client in TypeScript', 'node', ['built/client.js', broker, token])
  run('client in Java', 'java', ['-cp', 'java/classes:java/lib/*', 'Client', broker, token])
  run('schemathesis', 'venv/bin/st', [
    '--config-file', path.join(root, 'tests/api/schemathesis.toml'), 'run', `${broker}/openapi.json`,
    '-H', `Authorization: Bearer ${token}`, '--phases', 'examples,coverage,fuzzing,stateful', '--no-color', '--warnings', 'off',
  ])
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  await end(child)
}
