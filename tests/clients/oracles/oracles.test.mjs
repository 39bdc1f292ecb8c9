// Compares the broker's decision on each token of the corpus with those of SAP's own verifiers, which fetch the same keys.
// Both accept what the broker accepts, or a reason is listed. The broker refuses what both refuse.
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

/** Why an oracle refuses what the broker accepts: the reason, the oracle, and the tokens. */
const reasons = [
  ['iterates a text `aud` by characters', 'sap-xssec', ({ claims }) => typeof claims.aud === 'string'],
  ['has no leeway', 'sap-xssec', ({ claims: { exp, nbf, iat } }, now) => [now - exp, nbf - now - 1, iat - now - 1].some(over => over >= 0 && over < 60)],
  ['hits its recursion limit', 'sap-xssec', ({ text }) => text.includes('['.repeat(1000))],
]

describe('callers\' tokens, verified by SAP\'s own verifiers', () => {
  const record = JSON.parse(readFileSync(path.join(root, 'target/tmp/callers.json')))
  const decisions = {}
  let server
  before(async () => {
    server = await keyServer()
    for (const name of Object.keys(oracles)) decisions[name] = await runOracle(name, record.cases.map(one => one.token), readable(record.keys))
  })
  after(() => server?.close())

  it('the corpus is complete, and each oracle accepts some tokens and refuses others', () => {
    assert.ok(record.cases.length >= 200, String(record.cases.length))
    for (const [name, results] of Object.entries(decisions)) {
      const accepted = results.filter(decision => decision.accepted).length
      assert.ok(accepted >= 30 && results.length - accepted >= 80, `${name} accepts ${accepted} of ${results.length}`)
    }
  })

  it('both accept what the broker accepts, or a reason is listed; the broker refuses what both refuse', () => {
    const { findings, used } = compare(one => one.status)
    assert.deepEqual(findings, [])
    assert.deepEqual(reasons.filter(reason => !used.has(reason)).map(([name]) => name), [], 'reasons that are not needed')
  })

  it('the comparison finds the mistakes of a naive verifier', () => {
    const { findings } = compare(one => (one.naive ? 200 : 401))
    for (const name of ['HS256 with a key of the set', 'nbf in ten minutes', 'aud other', 'no zone']) {
      assert.ok(findings.some(finding => finding.startsWith(`${name}: `)), `${name} is not among\n${findings.join('\n')}`)
    }
  })

  it('the comparison finds a broker that grants a scope too many', () => {
    const { findings } = compare(one => (one.status === 403 ? 200 : one.status))
    assert.ok(findings.some(finding => finding.startsWith('scope in lower case: ')), findings.join('\n'))
  })

  it('@sap/xssec refuses every token while the key set holds a key of unknown type (a known limit)', async () => {
    const valid = record.cases.find(one => one.name === 'valid')
    assert.equal(valid.status, 200)
    const [decision] = await runOracle('@sap/xssec', [valid.token], record.keys)
    assert.equal(decision.accepted, false)
  })

  /** Compares the oracles with a verifier that answers 200, 401, or, for a good token without the scope, 403. */
  function compare(status) {
    const findings = []
    const used = new Set()
    record.cases.forEach((one, index) => {
      const said = status(one)
      if (said === 401) return
      const all = Object.entries(decisions).map(([name, results]) => ({ name, ...results[index] }))
      for (const { name, accepted, scope, why } of all) {
        if (accepted && (said === 403 || scope)) continue
        const known = reasons.find(([, whose, is]) => whose === name && is(parts(one.token), record.now))
        if (known && all.some(other => other.accepted)) used.add(known)
        else findings.push(`${one.name}: ${said}, but ${name} says ${accepted ? 'that the scope is not there' : why}`)
      }
    })
    return { findings, used }
  }

  /** Runs one oracle. It finds these keys at the address of its binding. */
  async function runOracle(name, tokens, keys) {
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

/** The key set without the entries that @sap/xssec cannot read: with them it refuses every token. */
function readable({ keys }) {
  const isReadable = key => {
    try { return Boolean(createPublicKey({ key, format: 'jwk' })) } catch { return false }
  }
  return { keys: keys.filter(isReadable) }
}

/** Serves `/token_keys` for both oracles. */
async function keyServer() {
  const state = { asked: 0, keys: { keys: [] } }
  const server = await secure((request, response) => {
    const found = request.url.startsWith('/token_keys')
    state.asked += found
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(state.keys))
  })
  return Object.assign(state, server)
}
