// A person logs on at a real approuter with the sandbox's XSUAA, calls the broker, and logs out: with and without PKCE.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import vm from 'node:vm'
import { approuter } from '../lib/approuter.mjs'
import { installed, landscape, secure } from '../lib/landscape.mjs'

const releases = {
  '20.10.0, which has no PKCE': { release: 'approuter20', pkce: false },
  '21.2.0': { release: 'approuter', pkce: false },
  '21.2.0 with STATE_PARAMETER_SECRET': { release: 'approuter', pkce: true, env: { STATE_PARAMETER_SECRET: 'test-only' } },
}

describe('a login at the approuter', () => {
  let system, uaa, folder
  before(async () => {
    folder = mkdtempSync(path.join(installed, 'run-login-'))
    mkdirSync(path.join(folder, 'web'))
    for (const page of ['index', 'bye']) writeFileSync(path.join(folder, `web/${page}.html`), page)
    writeFileSync(path.join(folder, 'xs-app.json'), JSON.stringify({
      logout: { logoutEndpoint: '/leave', logoutPage: '/bye.html' },
      routes: [
        { source: '^/broker(/.*)$', target: '$1', destination: 'broker', authenticationType: 'xsuaa' },
        { source: '^/(.*)$', localDir: 'web', authenticationType: 'none' },
      ],
    }))
    system = await landscape(1)
    // The approuter calls XSUAA only with https.
    uaa = await secure(async (request, response) => {
      const chunks = []
      for await (const chunk of request) chunks.push(chunk)
      const { 'content-type': type, authorization } = request.headers
      const answer = await fetch(system.xsuaa + request.url, {
        method: request.method,
        headers: { ...(type && { 'content-type': type }), ...(authorization && { authorization }) },
        body: chunks.length ? Buffer.concat(chunks) : undefined,
      })
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' })
      response.end(Buffer.from(await answer.arrayBuffer()))
    })
  })
  after(async () => {
    uaa?.close()
    await system?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  for (const [name, { pkce, ...options }] of Object.entries(releases)) {
    it(name, async () => {
      const router = await approuter(folder, undefined, { uaaDomain: uaa.domain, uaa: uaa.url, broker: system.url, ...options })
      try {
        await logsOnAndOut(router, pkce)
      } catch (error) {
        error.message += `\n${router.child.text}`
        throw error
      } finally {
        await router.stop()
      }
    })
  }

  async function logsOnAndOut(router, pkce) {
    const shop = browser(router.url)
    const login = browser(system.xsuaa)
    const atXsuaa = address => address.replace(uaa.url, '')

    const asked = (await shop.get('/broker/spaces')).next
    assert.ok(asked.startsWith(`${uaa.url}/oauth/authorize?`), asked)
    assert.equal(new URL(asked).searchParams.has('code_challenge'), pkce, asked)
    const page = await login.get(atXsuaa(asked))
    assert.equal(page.status, 200, page.text)
    assert.match(page.text, /user=developer@example\.test/)
    const chosen = await login.get(`${atXsuaa(asked)}&user=developer@example.test`)
    assert.ok(chosen.next.startsWith(`${router.url}/login/callback?code=`), chosen.next)
    const back = await shop.get(chosen.next.replace(router.url, ''))
    assert.equal(back.status, 302, back.text)
    const spaces = await shop.get('/broker/spaces')
    assert.equal(spaces.status, 200, spaces.text)
    assert.ok(spaces.text.includes('<bdi>dev</bdi>'), spaces.text)

    const leave = (await shop.get('/leave')).next
    assert.ok(leave.startsWith(`${uaa.url}/logout.do?`), leave)
    const left = await login.get(atXsuaa(leave))
    assert.equal(left.next, `${router.url}/bye.html`)
    assert.equal((await shop.get('/bye.html')).text, 'bye')
    const after = (await shop.get('/broker/spaces')).next
    assert.ok(after.startsWith(`${uaa.url}/oauth/authorize?`), after)
    assert.match((await login.get(atXsuaa(after))).text, /user=developer@example\.test/)
  }
})

/** A browser at one address. It keeps cookies and runs scripts. `next` is where it is sent. */
function browser(base) {
  const cookies = new Map()
  const keep = text => {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(text)
    if (value && !/max-age=0|expires=thu, 01 jan 1970/i.test(text)) cookies.set(name, value)
    else cookies.delete(name)
  }
  return {
    get: async path => {
      const cookie = [...cookies].map(pair => pair.join('=')).join('; ')
      const answer = await fetch(base + path, {
        redirect: 'manual', signal: AbortSignal.timeout(60_000),
        headers: { accept: 'text/html', 'user-agent': 'Mozilla/5.0', ...(cookie && { cookie }) },
      })
      const text = await answer.text()
      for (const one of answer.headers.getSetCookie()) keep(one)
      const [, script] = /<script[^>]*>(.*)<\/script>/s.exec(text) ?? []
      const next = script ? execute(script, base + path, keep) : answer.headers.get('location')
      return { status: answer.status, text, next: next ?? text }
    },
  }
}

/** Runs the script of the approuter's page, which sets cookies and a new location; returns the location. */
function execute(script, href, keep) {
  const { hash, host } = new URL(href)
  const page = { location: { hash, host, href }, document: { set cookie(text) { keep(text) } } }
  vm.runInNewContext(script, page)
  return page.location
}
