// A newcomer opens the printed address and sees the spaces after one click; who may not is told why; a session ends.
import assert from 'node:assert/strict'
import { describe, it, before, after, afterEach } from 'node:test'
import { accessible, browser, fits, sandbox, until } from './lib.mjs'

const SESSION = '__Host-cfb'

describe('a login', () => {
  const { visit } = browser()
  let system, person, developer, operator, stranger
  before(async () => {
    system = await sandbox()
    ;[developer, operator, stranger] = system.people
  })
  after(() => system?.stop())
  afterEach(() => person?.close())

  const spaces = page => page.getByRole('rowheader', { name: 'dev', exact: true }).waitFor()
  // XSUAA leads back to a page that begins no new login.
  const logOut = async page => {
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.waitForURL(url => url.pathname === '/logged-out')
    await page.getByText('You are not logged in at the broker.').waitFor()
  }
  const choice = page => page.getByRole('link', { name: developer }).waitFor()
  const session = async () => (await person.context.cookies()).find(({ name }) => name === SESSION)

  for (const colorScheme of ['light', 'dark']) {
    it(`is one click from the printed address to the table, ${colorScheme}`, async () => {
      person = await visit(system.url, { colorScheme })
      const { page } = person
      await page.goto(system.url)
      assert.deepEqual(await page.getByRole('link').allTextContents(), system.people)
      await person.picture(`people-${colorScheme}`)
      await page.getByRole('link', { name: developer }).click()
      await spaces(page)
      assert.equal(page.url(), new URL('/spaces', system.url).href)
      await person.picture(`first-${colorScheme}`)
      const { httpOnly, secure, sameSite } = await session()
      assert.deepEqual({ httpOnly, secure, sameSite }, { httpOnly: true, secure: true, sameSite: 'Lax' })
      assert.equal(await page.evaluate('document.cookie'), '')
      person.clean()
    })
  }

  it('of an operator leads to the table, too', async () => {
    person = await visit(system.url)
    await person.logIn(operator)
    await spaces(person.page)
    await person.page.getByText(operator).waitFor()
    person.clean()
  })

  for (const colorScheme of ['light', 'dark']) {
    it(`without a role is told which one and how to get it, ${colorScheme}`, async () => {
      person = await visit(system.url, { colorScheme, bypassCSP: true })
      const { page } = person
      person.expect(403)
      await person.logIn(stranger)
      const text = await page.getByRole('main').textContent()
      for (const word of ['Spaces.Read', 'role']) assert.ok(text.includes(word), text)
      await person.picture(`no-role-${colorScheme}`)
      await accessible(page)
      await logOut(page)
      await page.getByRole('main').getByRole('link', { name: 'Log in' }).click()
      await page.getByRole('link', { name: operator }).click()
      await spaces(page)
      person.clean()
    })
  }

  it('ends with a logout, here and at XSUAA, and the back button does not bring it back', async () => {
    person = await visit(system.url)
    const { page } = person
    await person.logIn(developer)
    await spaces(page)
    await logOut(page)
    await person.picture('logged-out')
    assert.equal(await session(), undefined)
    await page.goBack()
    await choice(page)
    person.clean()
  })

  it('that ends in the middle of the work is renewed by the next click', async () => {
    person = await visit(system.url)
    const { page } = person
    await system.lever('token_lifetime', { part: 'xsuaa', seconds: 4 })
    await person.logIn(developer)
    await spaces(page)
    await system.lever('token_lifetime', { part: 'xsuaa', seconds: 43200 })
    await until('the session has ended', async () => !await session())
    // XSUAA still knows the person.
    await page.getByRole('navigation').getByRole('link', { name: 'Spaces' }).click()
    await spaces(page)
    assert.ok(await session())
    person.clean()
  })

  it('that ends while a page is open is told on the page', async () => {
    person = await visit(system.url)
    const { page } = person
    await person.logIn(developer)
    await spaces(page)
    await person.context.clearCookies({ name: SESSION })
    person.expect(401)
    // So the page looks again when one comes back to it.
    await page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
    await page.getByText('Your login has ended').waitFor()
    await person.picture('login-ended')
    person.clean()
  })

  it('in two tabs at once succeeds in both, and a logout counts for both', async () => {
    person = await visit(system.url)
    const tabs = [person.page, await person.context.newPage()]
    for (const tab of tabs) await tab.goto(system.url)
    for (const tab of tabs) {
      await tab.getByRole('link', { name: developer }).click()
      await spaces(tab)
    }
    await logOut(tabs[0])
    await tabs[1].reload()
    await choice(tabs[1])
    person.clean()
  })

  it('can be begun again with the back button', async () => {
    person = await visit(system.url)
    const { page } = person
    await person.logIn(developer)
    await spaces(page)
    person.expect(400)
    await page.goBack()
    await page.getByRole('link', { name: operator }).click()
    // The login of this address was used. The page offers a new one, and XSUAA knows who is there.
    await page.getByRole('link', { name: 'Log in again' }).click()
    await spaces(page)
    await page.getByText(operator).waitFor()
    person.clean()
  })

  for (const colorScheme of ['light', 'dark']) {
    it(`that does not fit is a page that offers a new one, ${colorScheme}`, async () => {
      person = await visit(system.url, { colorScheme, bypassCSP: true })
      const { page } = person
      await person.logIn(developer)
      person.expect(400)
      await person.open('/login/callback?code=x&state=y')
      await person.picture(`login-failed-${colorScheme}`)
      await accessible(page)
      await page.getByRole('link', { name: 'Log in again' }).click()
      await spaces(page)
      person.clean()
    })
  }

  it('needs no mouse', async () => {
    person = await visit(system.url)
    const { page } = person
    const focused = () => page.evaluate('document.activeElement.textContent')
    await page.goto(system.url)
    await page.keyboard.press('Tab')
    assert.equal(await focused(), developer)
    await page.keyboard.press('Enter')
    await spaces(page)
    await page.keyboard.press('Tab')
    assert.match(await focused(), /^Skip to/)
    await person.picture('keyboard-skip')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate('document.querySelector("main").contains(document.activeElement)'), true)
    await person.picture('keyboard-main')
    person.clean()
  })

  it('needs no script, and the page fits a phone', async () => {
    person = await visit(system.url, { javaScriptEnabled: false, viewport: { width: 320, height: 640 } })
    await person.logIn(developer)
    await spaces(person.page)
    await fits(person.page)
    await person.picture('no-script')
    person.clean()
  })
})

describe('a login that is switched off', () => {
  const { visit } = browser()
  let system
  before(async () => { system = await sandbox({ CFAPI_LOGIN__ENABLED: 'false' }) })
  after(() => system?.stop())

  it('says so, and what to do', async () => {
    const person = await visit(system.url)
    person.expect(401)
    await person.open('/spaces')
    assert.match(await person.page.getByRole('main').textContent(), /login\.enabled/)
    await fits(person.page)
    await person.picture('login-off')
    person.clean()
    await person.close()
  })
})
