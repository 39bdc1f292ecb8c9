// Chromium, and a sandbox as a user starts it.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { after, before } from 'node:test'
import { ask, clientToken, end, provider, root, start, until } from '../clients/lib/landscape.mjs'

const installed = createRequire(path.join(root, 'target/browser/package.json'))
const { chromium } = installed('playwright-core')
const axeSource = installed('axe-core').source

/** The folder of the pictures; each test run writes them anew. */
const pictures = path.join(root, 'target/browser/pictures')
const program = path.join(root, 'target/debug/cfapi-broker')

// What Chromium would load from its maker stays off, so that nothing leaves the machine.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
/** Chromium's own report of an answer that is a problem. */
const STATUS = /^Failed to load resource: the server responded with a status of (\d+)/

/** Waits for at most a minute; `until` with the default limits. */
export { ask, until }

/** Starts `cfapi-broker sandbox` and reads the block that it prints for people. `text()` is its output so far. */
export async function sandbox(env = {}) {
  const child = start(program, ['sandbox', '--port-base', '0'], env)
  try {
    const block = await until('the sandbox prints where to go', () => {
      if (child.exitCode !== null) throw new Error(`the sandbox ended:\n${child.text}`)
      return child.text.includes('stop with Ctrl-C') && child.text
    })
    return { ...read(block), text: () => child.text, stop: () => end(child) }
  } catch (error) {
    await end(child)
    throw error
  }
}

/** The addresses and people in the block that `cfapi-broker sandbox` prints. */
function read(block) {
  const [, url, names] = /^open (\S+) in a browser and choose who you are: (.*)$/m.exec(block) ?? []
  assert.ok(url, block)
  const [, levers] = /^ *levers +(\S+)/m.exec(block)
  const [, xsuaa] = /xsuaa (\S+)/.exec(block)
  return {
    url,
    people: names.split(', '),
    lever: async (name, args = {}) => {
      const answer = await ask('POST', `${levers}/${name}`, { body: args })
      assert.equal(answer.status, 200, `${name}: ${answer.text}`)
      return answer.json
    },
    /** A token of an app. */
    token: app => clientToken(xsuaa, app),
    /** A tenant of the provider app subscribes: it gets a route. */
    subscribe: async (tenant, subdomain) => {
      const headers = { authorization: `Bearer ${await clientToken(xsuaa, provider)}` }
      const body = { subdomain, app: 'saas-approuter' }
      const answer = await ask('PUT', new URL(`/routes/${tenant}`, url), { headers, body })
      assert.equal(answer.status, 201, answer.text)
      return answer.json
    },
  }
}

/** Starts Chromium for the tests of a file. Returns `{ visit }`: a new person with an empty profile at this address. */
export function browser() {
  let running
  before(async () => {
    mkdirSync(pictures, { recursive: true })
    running = await chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS })
  })
  after(() => running?.close())
  return {
    visit: async (base, options = {}) => {
      const context = await running.newContext({ viewport: { width: 1200, height: 800 }, ...options })
      context.setDefaultTimeout(20_000)
      return visitor(context, base)
    },
  }
}

/** A person with a browser profile. Each page is watched: `clean` fails if one of them has reported an error. */
async function visitor(context, base) {
  const reports = []
  const expected = []
  context.on('console', message => {
    if (message.type() !== 'error' && message.type() !== 'warning') return
    const [, status] = STATUS.exec(message.text()) ?? []
    if (!expected.includes(Number(status))) reports.push(`${message.type()}: ${message.text()} (${message.location().url})`)
  })
  context.on('weberror', error => reports.push(String(error.error())))
  const page = await context.newPage()
  return {
    context,
    page,
    /** Answers with these statuses belong to the test: Chromium may report them. */
    expect: (...statuses) => { expected.push(...statuses) },
    /** Opens a path of the broker. */
    open: path => page.goto(new URL(path, base).href),
    /** Opens a path again and again until the page has this: what CF has is up to 5 s old. */
    openUntil: (path, locator) => until(`${path} shows ${locator}`, async () => {
      await page.goto(new URL(path, base).href)
      return await locator.count() > 0
    }, 20, 500),
    /** Opens the address and chooses a person: one click. */
    logIn: async (name, path = '/') => {
      await page.goto(new URL(path, base).href)
      await page.getByRole('link', { name }).click()
      await page.waitForURL(url => url.href.startsWith(base))
    },
    /** Writes a picture of the page to target/browser/pictures. */
    picture: (name, how = {}) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true, ...how }),
    /** Nothing was reported by a page of this person. */
    clean: () => assert.deepEqual(reports, []),
    close: () => context.close(),
  }
}

/** The page is not wider than the window. */
export async function fits(page) {
  const { width } = page.viewportSize()
  const wide = await page.evaluate(width => [...document.querySelectorAll('body *')]
    .filter(it => it.getBoundingClientRect().right > width + 1 && !it.closest('.scroll')).map(it => it.outerHTML.slice(0, 200)), width)
  const scrolled = await page.evaluate('document.documentElement.scrollWidth')
  assert.ok(scrolled <= width, `${page.url()}: ${scrolled} px in a window of ${width} px\n${wide.join('\n')}`)
}

/** No rule of axe is violated. The policy of the page forbids foreign scripts, so the person must have `bypassCSP`. */
export async function accessible(page) {
  await page.evaluate(axeSource)
  const { violations } = await page.evaluate(rules => globalThis.axe.run({ runOnly: rules }), RULES)
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(node => node.html).join('\n  ')}`)
  assert.deepEqual(found, [], page.url())
}
