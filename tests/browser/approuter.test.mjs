// A person logs in at a real approuter, which passes the token on: all pages work at its root and below a prefix.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { approuter } from '../clients/lib/approuter.mjs'
import { freePort, installed, landscape, secure } from '../clients/lib/landscape.mjs'
import { browser } from './lib.mjs'

const OPERATOR = 'operator@example.test'
const releases = { '20.10.0, which has no PKCE': 'approuter20', '21.2.0': 'approuter' }

/** The sandbox's XSUAA with https: an approuter calls no other. Redirects and cookies are the browser's matter. */
const xsuaaWithTls = address => secure(async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const { 'content-type': type, authorization, cookie } = request.headers
  const answer = await fetch(address() + request.url, {
    method: request.method,
    redirect: 'manual',
    headers: { ...(type && { 'content-type': type }), ...(authorization && { authorization }), ...(cookie && { cookie }) },
    body: chunks.length ? Buffer.concat(chunks) : undefined,
  })
  const headers = ['content-type', 'location', 'set-cookie'].map(name => [name, answer.headers.get(name)])
  response.writeHead(answer.status, Object.fromEntries(headers.filter(([, value]) => value)))
  response.end(Buffer.from(await answer.arrayBuffer()))
})

for (const [name, release] of Object.entries(releases)) {
  for (const prefix of ['', '/cfapi']) {
    describe(`approuter ${name}, ${prefix ? `below ${prefix}` : 'at its root'}`, () => {
      const { visit } = browser()
      let folder, system, uaa, router, person
      before(async () => {
        folder = mkdtempSync(path.join(installed, 'run-browser-'))
        mkdirSync(path.join(folder, 'web'))
        writeFileSync(path.join(folder, 'xs-app.json'), JSON.stringify({
          logout: { logoutEndpoint: '/leave' },
          routes: [{
            source: `^${prefix}/(.*)$`, target: '/$1', destination: 'broker', authenticationType: 'xsuaa', csrfProtection: false,
          }],
        }))
        const listen = await freePort()
        system = await landscape(1, { CFAPI_SERVER__NAMES: JSON.stringify([`localhost:${listen}${prefix}`]) })
        uaa = await xsuaaWithTls(() => system.xsuaa)
        router = await approuter(folder, undefined, { uaaDomain: uaa.domain, uaa: uaa.url, broker: system.url, release, listen })
        person = await visit(router.url, { ignoreHTTPSErrors: true })
      })
      after(async () => {
        await person?.close()
        await router?.stop()
        uaa?.close()
        await system?.stop()
        rmSync(folder, { recursive: true, force: true })
      })

      it('shows the spaces after one click', async () => {
        const { page } = person
        await person.logIn(OPERATOR, `${prefix}/`)
        await page.getByRole('rowheader', { name: 'dev', exact: true }).waitFor()
        assert.equal(page.url(), `${router.url}${prefix}/spaces`)
        // The style sheet has arrived.
        assert.equal(await page.evaluate('getComputedStyle(document.body).margin'), '0px')
        await person.picture(`${release}${prefix.replace('/', '-')}`)
        person.clean()
      })

      it('leads each link, file and form of a page to the same place', async () => {
        const { page } = person
        for (const path of ['/spaces', '/destinations', '/docs']) {
          await person.open(prefix + path)
          const addresses = await page.evaluate(() => [...document.querySelectorAll('[href], [src], form')]
            .map(element => element.href ?? element.src ?? element.action))
          const own = `${router.url}${prefix}/`
          assert.ok(addresses.length > 5, page.url())
          assert.deepEqual(addresses.filter(address => !address.startsWith(own)), [], page.url())
        }
        person.clean()
      })

      it('releases one attempt', async () => {
        const { page } = person
        await person.open(`${prefix}/destinations`)
        await page.getByText('Release one attempt for CFAPI').click()
        await page.getByRole('button', { name: 'Send one logon for CFAPI now' }).click()
        await page.getByText('One logon for destination CFAPI succeeded.').waitFor()
        assert.ok(page.url().startsWith(`${router.url}${prefix}/destinations?done=`), page.url())
        person.clean()
      })

      it('sends an operation of the API with the token of the person', async () => {
        const { page } = person
        await person.open(`${prefix}/docs#list_spaces`)
        await page.getByText('You are logged in.').waitFor()
        const details = page.locator('main details[open]').first()
        await details.getByRole('button', { name: 'Send GET' }).click()
        await details.getByRole('status').filter({ hasText: 'Status 200' }).waitFor()
        assert.match(await details.locator('.answer pre').first().textContent(), /"resources"/)
        person.clean()
      })

      it('names the role that is missing, and the way back', async () => {
        const stranger = await visit(router.url, { ignoreHTTPSErrors: true })
        // Without a role the token is not for the broker.
        stranger.expect(401)
        await stranger.logIn('stranger@example.test', `${prefix}/`)
        await stranger.page.getByText(/role SpacesViewer/).waitFor()
        stranger.clean()
        await stranger.close()
      })
    })
  }
}
