// The page of the API: an operation is found, opened and sent, with a token, with a login and with neither.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { provider } from '../clients/lib/landscape.mjs'
import { browser, sandbox } from './lib.mjs'

const OPERATOR = 'operator@example.test'

describe('the page of the API', () => {
  const { visit } = browser()
  let system
  before(async () => { system = await sandbox() })
  after(() => system?.stop())

  /** The details of an operation on this page. */
  const operation = (page, method, path) => page.locator('details.card').filter({
    has: page.locator('summary', { hasText: new RegExp(`^\\s*${method} ${path.replace(/[{}/]/g, '\\$&')} `) }),
  })
  const open = async (page, method, path) => {
    const found = operation(page, method, path)
    await found.locator('> summary').click()
    return found
  }
  const send = async found => {
    await found.getByRole('button', { name: /^Send/ }).click()
    const status = found.getByRole('status').filter({ hasText: 'Status' })
    await status.waitFor()
    return [await status.textContent(), ...await found.locator('.answer pre').allTextContents()].join('\n')
  }

  it('is open, is in the navigation, and leads to the document', async () => {
    const person = await visit(system.url)
    await person.open('/problems')
    await person.page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'API' }).click()
    await person.page.getByRole('heading', { name: 'API', level: 1 }).waitFor()
    const [document] = await Promise.all([
      person.context.waitForEvent('response', answer => answer.url().endsWith('/openapi.json')),
      person.page.getByRole('link', { name: 'openapi.json', exact: true }).click(),
    ])
    assert.equal(document.status(), 200)
    person.clean()
    await person.close()
  })

  it('finds an operation, opens it, and its address opens it again', async () => {
    const person = await visit(system.url)
    await person.open('/docs')
    const { page } = person
    await page.getByRole('searchbox', { name: 'Filter' }).fill('PUT /routes/{tenant}')
    await page.getByRole('status').filter({ hasText: /^1 of \d+ operations$/ }).waitFor()
    await page.locator('#operations').getByRole('link', { name: 'PUT /routes/{tenant}' }).click()
    const found = operation(page, 'PUT', '/routes/{tenant}')
    await found.getByText('subdomain').first().waitFor()
    await page.reload()
    await found.getByText('subdomain').first().waitFor()
    assert.ok(await found.evaluate(details => details.open))
    await found.getByRole('link', { name: 'host_taken', exact: true }).click()
    await page.getByRole('heading', { name: 'Host already taken' }).waitFor()
    person.clean()
    await person.close()
  })

  it('sends a change with a token, which is gone with the page', async () => {
    const person = await visit(system.url)
    const token = await system.token(provider)
    await person.open('/docs')
    const { page } = person
    await page.getByLabel('Bearer token').fill(token)
    const put = await open(page, 'PUT', '/routes/{tenant}')
    await put.getByRole('textbox', { name: 'tenant', exact: true }).fill('docs 1')
    person.expect(400)
    assert.match(await send(put), /^Status 400, [^]*"code": "malformed_path"[^]*application\/problem\+json/)
    await put.getByRole('textbox', { name: 'tenant', exact: true }).fill('docs-1')
    await put.getByLabel('Body', { exact: true }).fill('{"subdomain": "from-docs", "app": "saas-approuter"}')
    assert.match(await send(put), /^Status 201, [^]*"outcome": "created"[^]*\nlocation: /)
    const list = await open(page, 'GET', '/routes')
    await list.getByRole('textbox', { name: 'tenant', exact: true }).fill('docs-1')
    assert.match(await send(list), /^Status 200, [^]*"tenant": "docs-1"/)
    const remove = await open(page, 'DELETE', '/routes/{tenant}')
    await remove.getByRole('textbox', { name: 'tenant', exact: true }).fill('docs-1')
    assert.match(await send(remove), /^Status 20[24], /)
    assert.equal(await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])'), '[{},{},""]')
    await page.reload()
    assert.equal(await page.getByLabel('Bearer token').inputValue(), '')
    person.clean()
    await person.close()
  })

  it('sends with the login of the person what a login may do', async () => {
    const person = await visit(system.url)
    await person.open('/docs')
    await person.page.getByRole('link', { name: 'log in' }).click()
    await person.page.getByRole('link', { name: OPERATOR }).click()
    await person.page.waitForURL(/\/docs$/)
    const { page } = person
    await page.getByText('Logged in as').waitFor()
    assert.match(await send(await open(page, 'GET', '/spaces')), /^Status 200, [^]*"resources"/)
    person.expect(401)
    assert.match(await send(await open(page, 'GET', '/routes')), /^Status 401, [^]*"code": "unauthenticated"/)
    person.clean()
    await person.close()
  })

  it('can be read without its script', async () => {
    const person = await visit(system.url, { javaScriptEnabled: false })
    await person.open('/docs')
    const put = await open(person.page, 'PUT', '/routes/{tenant}')
    await put.getByText('curl -X PUT').waitFor()
    await person.page.getByText('need the script of this page').waitFor()
    assert.equal(await person.page.getByRole('button', { name: /^Send/ }).count(), 0)
    person.clean()
    await person.close()
  })
})
