// The page of destinations, and the release of one attempt by its button: the only write of a page.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { accessible, browser, fits, sandbox } from './lib.mjs'

const OPERATOR = 'operator@example.test'
const user = 'technical.user@example.test'
/** The password in the sandbox's destination. */
const RIGHT = 'sandbox-only-p&ss w=rd%ü'
const looks = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  phone: { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true },
}

describe('the page of destinations', () => {
  const { visit } = browser()
  let system, person
  /** Opens the page, and the part of it with the button. */
  const offer = async (it = person) => {
    await it.open('/destinations')
    await it.page.getByText('Release one attempt for CFAPI').click()
    return it.page.getByRole('button', { name: 'Send one logon for CFAPI now' })
  }
  before(async () => {
    system = await sandbox()
    person = await visit(system.url)
    await person.logIn(OPERATOR)
    await system.lever('change_password', { user, password: 'another' })
    await system.lever('revoke_all')
    person.expect(502)
    await person.openUntil('/spaces', person.page.getByText(/refused the logon/))
  })
  after(async () => {
    await person?.close()
    await system?.stop()
  })

  it('says why the technical user is refused, and when', async () => {
    const { page } = person
    await person.open('/destinations')
    await page.getByText('Refused', { exact: true }).waitFor()
    const events = page.getByRole('list', { name: 'Last events' }).getByRole('listitem')
    assert.match(await events.first().textContent(), /refused the logon/)
    person.clean()
  })

  it('has a button for an operator, and a sentence for a developer', async () => {
    const developer = await visit(system.url)
    developer.expect(502)
    await developer.logIn('developer@example.test')
    await developer.open('/destinations')
    await developer.page.getByText('Only people with the role RoutesAdministrator can release an attempt here.').waitFor()
    assert.equal(await developer.page.getByRole('button', { name: /logon/ }).count(), 0)
    developer.clean()
    await developer.close()
  })

  for (const [look, options] of Object.entries(looks)) {
    it(`looks well, ${look}`, async () => {
      const storageState = await person.context.storageState()
      for (const bypassCSP of [false, true]) {
        const other = await visit(system.url, { ...options, bypassCSP, storageState })
        await offer(other)
        await fits(other.page)
        if (bypassCSP) await accessible(other.page)
        else await other.picture(`destinations-refused-${look}`)
        other.clean()
        await other.close()
      }
    })
  }

  it('releases one attempt, which tells that it was refused and counts', async () => {
    const { page } = person
    await (await offer()).click()
    await page.getByText(/One logon for destination CFAPI was sent without success\./).waitFor()
    await page.getByText(/has sent 1 released attempt/).first().waitFor()
    await person.picture('destinations-released')
    // Neither a reload nor the way back sends one more.
    await page.reload()
    await page.goBack()
    await page.goForward()
    await person.open('/destinations')
    assert.equal(await page.getByText('An operator released one attempt').count(), 1)
    person.clean()
  })

  it('of two tabs that show the same page only one releases', async () => {
    const tabs = [person, await visit(system.url, { storageState: await person.context.storageState() })]
    const buttons = []
    for (const tab of tabs) buttons.push(await offer(tab))
    await system.lever('change_password', { user, password: RIGHT })
    await buttons[0].click()
    await tabs[0].page.getByText('One logon for destination CFAPI succeeded.').waitFor()
    await tabs[0].page.getByText('Healthy', { exact: true }).waitFor()
    await buttons[1].click()
    await tabs[1].page.getByText(/has released no attempt for destination CFAPI/).waitFor()
    assert.equal(await tabs[1].page.getByText('An operator released one attempt').count(), 2)
    for (const tab of tabs) tab.clean()
    await tabs[1].close()
  })

  it('releases nothing for a form of another site', async () => {
    const { page } = person
    const button = await offer()
    const [action, token] = await button.evaluate(it => [it.form.action, it.form.elements.form.value])
    const other = await visit(system.url, { storageState: await person.context.storageState() })
    other.expect(401)
    // A page without an address: the browser sends `Origin: null`.
    await other.page.setContent(`<form method="post" action="${action}"><input name="form" value="${token}"><button>go</button></form>`)
    const answered = other.page.waitForResponse(answer => answer.request().method() === 'POST')
    await other.page.getByRole('button').click()
    const answer = await answered
    // The browser keeps the cookie back; a test without a browser sends it with a foreign origin.
    assert.equal(answer.status(), 401)
    await other.page.getByText('Nothing was done: your login has ended.').waitFor()
    await person.open('/destinations')
    assert.equal(await page.getByText('An operator released one attempt').count(), 2)
    await other.close()
    person.clean()
  })
})
