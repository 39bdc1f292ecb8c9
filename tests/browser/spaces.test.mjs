// The page of spaces: filter, copy, names that want to be more than text, many spaces, none.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, afterEach, before, describe, it } from 'node:test'
import { accessible, browser, fits, sandbox } from './lib.mjs'

const DEVELOPER = 'developer@example.test'
const hostile = [
  '<script>document.title = "run"</script>',
  '"><img src=x onerror="document.title = \'run\'">',
  '\' onmouseover=\'document.title="run"',
  '{{ 7 * 7 }} ${7 * 7} &lt;b&gt;',
  '\u202eevil\u202c right to left',
  '\u0645\u0633\u0627\u062d\u0629 \u0627\u0644\u0639\u0645\u0644',
  'w'.repeat(200),
]
const organization = randomUUID()

/** A page of CF's list of spaces with these names. */
const list = names => ({
  pagination: { total_results: names.length, total_pages: 1, first: { href: 'x' }, last: { href: 'x' }, next: null, previous: null },
  resources: names.map(name => ({
    guid: randomUUID(), name, created_at: '2026-11-30T10:20:30Z', updated_at: '2026-11-30T10:20:30Z',
    relationships: { organization: { data: { guid: organization } }, quota: { data: null } },
    metadata: { labels: {}, annotations: {} }, links: {},
  })),
  included: { organizations: [{ guid: organization, name: '<b>org</b>' }] },
})

describe('the spaces', () => {
  const { visit } = browser()
  let system, person
  before(async () => { system = await sandbox() })
  after(() => system?.stop())
  afterEach(async () => {
    await system.lever('clear')
    await person?.close()
  })
  /** CF answers with these spaces from now on. */
  const named = names => system.lever('fail_next', { part: 'cf', n: 1000, status: 200, body: list(names), only: 'GET /v3/spaces' })
  const shown = page => page.getByRole('row').filter({ has: page.getByRole('rowheader') })

  it('are filtered while one types, and the number is told', async () => {
    person = await visit(system.url)
    const { page } = person
    await person.logIn(DEVELOPER)
    const count = page.getByRole('status').filter({ hasText: 'spaces' })
    assert.equal(await count.textContent(), '2 of 2 spaces')
    await page.getByLabel('Filter').fill('OTH')
    assert.equal(await shown(page).count(), 1)
    await shown(page).getByText('other', { exact: true }).waitFor()
    assert.equal(await count.textContent(), '1 of 2 spaces')
    await page.getByLabel('Filter').press('Enter')
    assert.equal(await shown(page).count(), 1)
    // The filter looks at what the broker's own filter looks at, not at the words of a button.
    await page.getByLabel('Filter').fill('copy')
    assert.equal(await shown(page).count(), 0)
    await page.getByLabel('Filter').fill('nowhere')
    assert.equal(await shown(page).count(), 0)
    assert.equal(await count.textContent(), '0 of 2 spaces')
    await person.picture('filter-none')
    person.clean()
  })

  it('give their GUID to the clipboard', async () => {
    person = await visit(system.url, { permissions: ['clipboard-write'] })
    const { page } = person
    await person.logIn(DEVELOPER)
    await page.getByRole('button', { name: 'Copy the GUID of dev' }).click()
    await page.getByText('Copied', { exact: true }).waitFor()
    // The page itself may not read the clipboard; a person who pastes may.
    await page.getByLabel('Filter').press('Control+V')
    const guid = await page.getByLabel('Filter').inputValue()
    assert.match(guid, /^[0-9a-f-]{36}$/)
    assert.ok((await page.getByRole('row').filter({ hasText: 'dev' }).first().textContent()).includes(guid))
    person.clean()
  })

  for (const [look, options] of Object.entries({ wide: {}, phone: { viewport: { width: 320, height: 640 } } })) {
    it(`with hostile names show them as text, ${look}`, async () => {
      person = await visit(system.url, options)
      const { page } = person
      await named(hostile)
      await person.logIn(DEVELOPER)
      await person.openUntil('/spaces', page.getByRole('rowheader', { name: hostile[0] }))
      const names = (await page.getByRole('rowheader').allTextContents()).map(text => text.trim())
      assert.deepEqual(names.toSorted(), hostile.toSorted())
      await fits(page)
      await person.picture(`hostile-${look}`)
      await page.getByLabel('Filter').fill(hostile[0])
      assert.equal(await shown(page).count(), 1)
      await page.mouse.move(200, 300)
      assert.ok(!(await page.title()).includes('run'))
      person.clean()
    })
  }

  for (const colorScheme of ['light', 'dark']) {
    it(`that nobody sees name the role that is missing, ${colorScheme}`, async () => {
      person = await visit(system.url, { colorScheme, bypassCSP: true })
      await named([])
      await person.logIn(DEVELOPER)
      await person.openUntil('/spaces', person.page.getByText(/needs the role Space (Developer|Supporter)/))
      await person.picture(`empty-${colorScheme}`)
      await accessible(person.page)
      person.clean()
    })
  }

  for (const javaScriptEnabled of [true, false]) {
    it(`are many: pages and filter, ${javaScriptEnabled ? 'with' : 'without'} script`, async () => {
      person = await visit(system.url, { javaScriptEnabled })
      const { page } = person
      if (javaScriptEnabled) await system.lever('fill', { spaces: 250, apps: 10, routes: 20 })
      await person.logIn(DEVELOPER)
      await person.openUntil('/spaces', page.getByRole('link', { name: 'Next page' }))
      const first = await shown(page).count()
      await person.picture(`many-${javaScriptEnabled}`)
      await page.getByRole('link', { name: 'Next page' }).click()
      await page.getByRole('link', { name: 'Previous page' }).waitFor()
      assert.ok(await shown(page).count() > 0 && first > 0)
      await page.getByLabel('Filter').fill('space-0249')
      await page.getByLabel('Filter').press('Enter')
      await page.getByRole('link', { name: 'Show all' }).waitFor()
      assert.equal(await shown(page).count(), 1)
      await page.goBack()
      await page.getByRole('link', { name: 'Previous page' }).waitFor()
      person.clean()
    })
  }
})
