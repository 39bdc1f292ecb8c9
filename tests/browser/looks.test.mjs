// Every page in light and dark, on a phone and at 200 %: nothing sticks out, no rule of accessibility is violated, and a
// picture is there to look at.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { accessible, browser, fits, sandbox } from './lib.mjs'

const OPERATOR = 'operator@example.test'
const looks = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  phone: { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true },
  zoomed: { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
}
/** Name of the picture, path, status. */
const pages = [
  ['spaces', '/spaces'],
  ['space', '/spaces/{dev}'],
  ['destinations', '/destinations'],
  ['not-found', '/nowhere', 404],
  ['problems', '/problems'],
  ['problem', '/problems/technical-user-locked'],
  ['docs', '/docs#ensure_route'],
]
/** Opens what a page has closed, so that it is looked at too. */
const opened = page => page.evaluate(() => document.querySelectorAll('main details').forEach(it => { it.open = true }))

describe('each page', () => {
  const { visit } = browser()
  let system
  let dev
  before(async () => {
    system = await sandbox()
    for (const [tenant, subdomain] of [['t1', 'acme'], ['t2', 'globex']]) await system.subscribe(tenant, subdomain)
    const person = await visit(system.url)
    await person.logIn(OPERATOR)
    dev = await person.page.getByRole('link', { name: 'dev', exact: true }).getAttribute('href')
    await person.close()
  })
  after(() => system?.stop())

  for (const [look, options] of Object.entries(looks)) {
    it(`${look}: as it is`, async () => {
      const person = await visit(system.url, options)
      await person.logIn(OPERATOR)
      for (const [name, path, status] of pages) {
        if (status) person.expect(status)
        await person.open(path.replace('/spaces/{dev}', dev))
        await person.picture(`${name}-${look}`)
        await opened(person.page)
        await fits(person.page)
      }
      person.clean()
      await person.close()
    })
    it(`${look}: accessible`, async () => {
      const person = await visit(system.url, { ...options, bypassCSP: true })
      await person.logIn(OPERATOR)
      for (const [, path] of pages) {
        await person.open(path.replace('/spaces/{dev}', dev))
        // All operations of the API take axe a minute: once is enough, elsewhere one of them is open.
        if (!path.startsWith('/docs') || look === 'light') await opened(person.page)
        await accessible(person.page)
      }
      await person.close()
    })
  }

  it('has its picture in the README', async () => {
    const person = await visit(system.url, { viewport: { width: 1240, height: 420 } })
    await person.logIn('developer@example.test')
    const picture = await person.picture('readme')
    assert.ok(picture.length < 100_000, `${picture.length} bytes`)
    person.clean()
    await person.close()
  })
})
