// The broker's verdict on each token of the corpus beside those of SAP's own verifiers, which fetch the same keys.
// What the broker accepts, both accept, or a reason is listed; what both refuse, it refuses.
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { authority, installed, root, secure, sources, start } from '../lib/landscape.mjs'

const packages = path.join(installed, 'oracles')
const oracles = {
  '@sap/xssec': { command: [process.execPath, path.join(sources, 'oracles/xssec.cjs')], env: { PACKAGES: packages, NODE_EXTRA_CA_CERTS: authority } },
  'sap-xssec': { command: [path.join(packages, 'venv/bin/python'), '-I', path.join(sources, 'oracles/pysec.py')], env: { SSL_CERT_FILE: authority } },
}

/** Why an oracle refuses what the broker accepts (`callers.md` 10): a name, whose it is, and which tokens it is about. */
const reasons = [
  ['iterates a text `aud` by characters', 'sap-xssec', ({ claims }) => typeof claims.aud === 'string'],
  ['has no leeway', 'sap-xssec', ({ claims: { exp, nbf, iat } }, now) => [now - exp, nbf - now - 1, iat - now - 1].some(over => over >= 0 && over < 60)],
  ['hits its recursion limit', 'sap-xssec', ({ text }) => text.includes('['.repeat(1000))],
]

describe('callers\' tokens, judged by SAP\'s own verifiers', () => {
  const record = JSON.parse(readFileSync(path.join(root, 'target/tmp/callers.json')))
  const verdicts = {}
  let server
  before(async () => {
    server = await keyServer()
    for (const name of Object.keys(oracles)) verdicts[name] = await judged(name, record.cases.map(one => one.token), readable(record.keys))
  })
  after(() => server?.close())

  it('the corpus is whole, and each oracle accepts some tokens and refuses others', () => {
    assert.ok(record.cases.length >= 200, String(record.cases.length))
    for (const [name, given] of Object.entries(verdicts)) {
      const accepted = given.filter(verdict => verdict.accepted).length
      assert.ok(accepted >= 30 && given.length - accepted >= 80, `${name} accepts ${accepted} of ${given.length}`)
    }
  })

  it('what the broker accepts, both accept, or a reason is listed; what both refuse, it refuses', () => {
    const { findings, used } = compare(one => one.status)
    assert.deepEqual(findings, [])
    assert.deepEqual(reasons.filter(reason => !used.has(reason)).map(([name]) => name), [], 'reasons that nothing needs')
  })

  it('a naive verifier in the broker\'s place is found out', () => {
    const { findings } = compare(one => (one.naive ? 200 : 401))
    for (const name of ['HS256 with a key of the set', 'nbf in ten minutes', 'aud other', 'no zone']) {
      assert.ok(findings.some(finding => finding.startsWith(`${name}: `)), `${name} is not among\n${findings.join('\n')}`)
    }
  })

  it('a broker that grants a scope too many is found out', () => {
    const { findings } = compare(one => (one.status === 403 ? 200 : one.status))
    assert.ok(findings.some(finding => finding.startsWith('scope in lower case: ')), findings.join('\n'))
  })

  it('@sap/xssec takes no token at all while the set holds a key of unknown type, as is known', async () => {
    const valid = record.cases.find(one => one.name === 'valid')
    assert.equal(valid.status, 200)
    const [verdict] = await judged('@sap/xssec', [valid.token], record.keys)
    assert.equal(verdict.accepted, false)
  })

  /** Compares the oracles with somebody who answers 200, 401, or 403 to a good token without the scope. */
  function compare(status) {
    const findings = []
    const used = new Set()
    record.cases.forEach((one, index) => {
      const said = status(one)
      if (said === 401) return
      const all = Object.entries(verdicts).map(([name, given]) => ({ name, ...given[index] }))
      for (const { name, accepted, scope, why } of all) {
        if (accepted && (said === 403 || scope)) continue
        const known = reasons.find(([, whose, is]) => whose === name && is(parts(one.token), record.now))
        if (known && all.some(other => other.accepted)) used.add(known)
        else findings.push(`${one.name}: ${said}, but ${name} says ${accepted ? 'that the scope is not there' : why}`)
      }
    })
    return { findings, used }
  }

  /** Asks one oracle; it finds these keys at the address of its binding. */
  async function judged(name, tokens, keys) {
    server.keys = keys
    const { clientid, xsappname, now, scope } = record
    const binding = { clientid, xsappname, clientsecret: 'unused', url: server.url, uaadomain: server.domain }
    const { command: [program, ...args], env } = oracles[name]
    const child = start(program, args, env, { stdio: ['pipe', 'pipe', 'pipe'] })
    child.stdin.end(JSON.stringify({ now, binding, scope, tokens }))
    assert.equal(await child.ended, 0, child.text)
    assert.ok(server.asked > 0, 'no keys were fetched')
    return JSON.parse(child.text)
  }
})

/** Header and claims of a token that a verifier accepted. */
function parts(token) {
  const [header, claims] = token.split('.').map(part => Buffer.from(part, 'base64url').toString())
  return { header: JSON.parse(header), claims: JSON.parse(claims), text: claims }
}

/** The key set without the entries that make @sap/xssec throw, and with them refuse every token. */
function readable({ keys }) {
  const isReadable = key => {
    try { return Boolean(createPublicKey({ key, format: 'jwk' })) } catch { return false }
  }
  return { keys: keys.filter(isReadable) }
}

/** `/token_keys`, for both oracles. */
async function keyServer() {
  const state = { asked: 0, keys: { keys: [] } }
  const server = await secure((request, response) => {
    const found = request.url.startsWith('/token_keys')
    state.asked += found
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(state.keys))
  })
  return Object.assign(state, server)
}
