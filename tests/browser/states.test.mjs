// The technical user is refused or locked, or CF is away: the pages say in words what is wrong and what to do.
import { after, before, describe, it } from 'node:test'
import { accessible, browser, fits, sandbox } from './lib.mjs'

const user = 'technical.user@example.test'
const states = {
  refused: {
    levers: [['change_password', { user, password: 'another' }], ['revoke_all']],
    words: [/refused the logon|technical user was refused/i, /release one attempt/i],
    statuses: [502],
    told: 'The state has changed: Refused.',
  },
  locked: {
    levers: [['lock_user', { user }], ['revoke_all']],
    words: [/locked/i, /waits? for the end of the lock/i],
    statuses: [503],
  },
  'without-cf': {
    levers: [['stop', { part: 'cf' }]],
    words: [/CF API unavailable|cannot be reached/i],
    statuses: [503],
  },
}
const looks = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  phone: { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true },
}

for (const [state, { levers, words, statuses, told }] of Object.entries(states)) {
  describe(`the technical user, ${state}`, () => {
    const { visit } = browser()
    const people = {}
    let system, watcher
    before(async () => {
      system = await sandbox()
      const first = await visit(system.url)
      await first.logIn('developer@example.test')
      const storageState = await first.context.storageState()
      await first.close()
      for (const [look, options] of Object.entries(looks)) {
        for (const bypassCSP of [false, true]) {
          const person = await visit(system.url, { ...options, bypassCSP, storageState })
          person.expect(...statuses)
          people[look + bypassCSP] = person
        }
      }
      watcher = await visit(system.url, { storageState })
      await watcher.open('/spaces')
      for (const [lever, args] of levers) await system.lever(lever, args)
    })
    after(async () => {
      for (const person of [watcher, ...Object.values(people)]) await person?.close()
      await system?.stop()
    })

    for (const look of Object.keys(looks)) {
      it(`is told in words, ${look}`, async () => {
        const person = people[`${look}false`]
        for (const word of words) await person.openUntil('/spaces', person.page.getByRole('main').getByText(word))
        await fits(person.page)
        await person.picture(`${state}-${look}`)
        person.clean()
        const other = people[`${look}true`]
        await other.open('/spaces')
        await accessible(other.page)
        other.clean()
      })
    }

    if (told) {
      it('is told on a page that was opened before', async () => {
        // So the page looks again when one comes back to it.
        await watcher.page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
        await watcher.page.getByRole('status').getByText(told).waitFor()
        watcher.clean()
      })
    }
  })
}
