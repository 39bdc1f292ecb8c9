// A real CAP provider app with real brokers: what happens when tenants subscribe and unsubscribe.
// Both supported pairs of CAP and cds-mtxs, one and two broker instances behind one address, both subscription services of SAP BTP.
import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { app, ask, cloudFoundry, domain, installed, landscape, until } from '../lib/landscape.mjs'
import { channels, providerApp } from '../lib/provider.mjs'

const node22 = path.join(installed, `node22/node_modules/node-linux-${process.arch}/bin/node`)
const versions = {
  cds9: { node: process.execPath, name: '@sap/cds 9.9.3, cds-mtxs 3.9.8' },
  cds10: { node: node22, name: '@sap/cds 10.1.1, cds-mtxs 4.1.0' },
}
const url = subdomain => `https://${subdomain}-${app}.${domain}`
const prefixOf = channel => channel.service.slice(0, 3)
const id = name => `${name}-${'0'.repeat(8)}-7f1c-4d11-8a4c`

// Each suite has its own landscape and mostly waits, so all run at the same time.
describe('CAP provider app', { concurrency: true }, () => {
  for (const [version, { node, name }] of Object.entries(versions)) {
    for (const instances of [1, 2]) {
      const title = `${name}, ${instances} broker${instances > 1 ? 's' : ''}`
      describe(title, { concurrency: 1 }, () => suite({ version, node, instances }))
    }
  }
})

function suite({ version, node, instances }) {
  let system, shop, cf
  before(async () => {
    system = await landscape(instances)
    const tenants = Object.values(channels).flatMap(channel => ['acme', 'beta', 'polled'].map(name => id(`${prefixOf(channel)}-${name}`)))
    shop = await providerApp(version, node, system, tenants)
    cf = await cloudFoundry(system)
  })
  after(async () => {
    await shop?.stop()
    await system?.stop()
  })

  it('t0 has a database and no route', async () => {
    assert.match(shop.child.text, /tenant: t0/)
    assert.deepEqual((await system.journal('cf')).filter(entry => entry.method !== 'GET'), [])
    assert.equal((await system.journal('xsuaa')).filter(entry => entry.grant_type === 'client_credentials').length, instances)
  })

  for (const [name, channel] of Object.entries(channels)) describe(name, () => cases(channel))

  if (instances === 1) {
    describe('CF takes 3 s for each delete', () => {
      before(() => system.lever('job_delay', { ms: 3000 }))
      after(() => system.lever('job_delay', { ms: 0 }))
      for (const [count, channel] of [[20, channels['SaaS registry']], [80, channels['Subscription Manager']]]) {
        it(`${count} tenants subscribe at the same time, and then unsubscribe`, () => crowd(count, channel))
      }
    })
  }

  if (instances > 1) {
    it('both brokers got requests', () => assert.ok(system.counts.every(count => count > 10), String(system.counts)))
  }
  it('the technical user logged on once for each broker', async () => {
    const grants = (await system.journal('uaa')).filter(entry => entry.grant_type === 'password')
    assert.equal(grants.length, instances + 1) // and once for the test itself
  })

  async function crowd(count, channel) {
    const hosts = Array.from({ length: count }, (_, n) => `${prefixOf(channel)}-crowd${n}`)
    const subscribed = await Promise.all(hosts.map(host => shop.subscribe(channel, id(host), host)))
    assert.deepEqual(subscribed.filter(answer => answer.status !== 200).map(answer => answer.text), [])
    assert.deepEqual(subscribed.map(channel.url), hosts.map(url))
    assert.equal((await cf.routes(...hosts)).length, count)
    const left = await Promise.all(hosts.map(host => shop.unsubscribe(channel, id(host))))
    assert.deepEqual(left.filter(answer => answer.status !== 204).map(answer => answer.text), [])
    assert.deepEqual(await cf.routes(...hosts), [])
  }

  function cases(channel) {
    const prefix = prefixOf(channel)
    const host = subdomain => `${prefix}-${subdomain}`
    const one = async subdomain => {
      const routes = await cf.routes(host(subdomain))
      assert.equal(routes.length, 1, JSON.stringify(routes))
      assert.deepEqual(routes[0].apps, [app])
      return routes[0]
    }
    const none = async subdomain => assert.deepEqual(await cf.routes(host(subdomain)), [])
    const subscribe = (tenant, options) => shop.subscribe(channel, id(host(tenant)), host(tenant), options)
    const unsubscribe = (tenant, options) => shop.unsubscribe(channel, id(host(tenant)), options)
    const subscribed = async tenant => (await shop.tenant(channel, id(host(tenant)))).status
    const hasDatabase = async tenant => (await shop.read(id(host(tenant)))).status === 200
    const leaves = async tenant => {
      assert.equal((await unsubscribe(tenant)).status, 204)
      await none(tenant)
    }
    const callback = name => ({ status_callback: `/callback/${prefix}/${name}` })
    const callbackOf = async name => (await shop.registry.callback(`/callback/${prefix}/${name}`))
    const isUrl = (answer, tenant) => {
      assert.equal(answer.status, 200, answer.text)
      assert.ok(answer.headers.get('content-type').startsWith(channel.contentType))
      assert.equal(channel.url(answer), url(host(tenant)))
    }

    it('a subscription creates the route and returns its URL', async () => {
      assert.ok(!await hasDatabase('acme'))
      isUrl(await subscribe('acme'), 'acme')
      const route = await one('acme')
      assert.equal(route.url, `${host('acme')}-${app}.${domain}`)
      assert.equal(route.labels['cfapi-broker.internal/tenant'], id(host('acme')))
      assert.equal(await subscribed('acme'), 200)
      assert.ok(await hasDatabase('acme'))
    })

    it('the registry repeats with UPDATE and gets the same route', async () => {
      const { guid } = await one('acme')
      isUrl(await subscribe('acme', { eventType: 'UPDATE' }), 'acme')
      assert.equal((await one('acme')).guid, guid)
    })

    it('a second tenant has its own route', async () => {
      isUrl(await subscribe('beta'), 'beta')
      assert.notEqual((await one('beta')).guid, (await one('acme')).guid)
    })

    it('an asynchronous subscription reports SUCCEEDED with the URL', async () => {
      const answer = await subscribe('later', { headers: callback('later') })
      assert.equal(answer.status, 202, answer.text)
      const { method, authorization, body } = await callbackOf('later')
      assert.equal(method, 'PUT')
      assert.match(authorization, /^Bearer /)
      assert.equal(body.status, 'SUCCEEDED')
      assert.equal(channel.urlInCallback(body), url(host('later')))
      await one('later')
    })

    it('an asynchronous subscription without callback ends FINISHED', async () => {
      const answer = await subscribe('polled', { headers: { prefer: 'respond-async' } })
      assert.equal(answer.status, 202, answer.text)
      const [, job] = /pollJob\(ID='([^']+)'\)/.exec(answer.headers.get('location'))
      assert.equal(await shop.job(job), 'FINISHED')
      await one('polled')
    })

    it('a retryable error is repeated after the pause that the broker requests', async () => {
      await system.lever('fail_next', { part: 'cf', status: 429, headers: { 'Retry-After': '1' }, only: 'POST /v3/routes' })
      isUrl(await subscribe('patient'), 'patient')
      const creates = (await system.journal('cf')).filter(call => call.path === '/v3/routes' && call.body.includes(host('patient')))
      assert.deepEqual(creates.map(call => call.status), [429, 201])
    })

    describe('the CF API is not reachable', () => {
      before(() => system.lever('stop', { part: 'cf' }))
      after(() => system.lever('start', { part: 'cf' }))
      // All at the same time, because each waits as long as the broker requests.
      it('synchronous: 502 with the detail of the broker; asynchronous: FAILED with it; a tenant that unsubscribes stays', async () => {
        const [broker, sync, accepted, leaving, leavingLater] = await Promise.all([
          ask('PUT', `${system.url}/routes/${prefix}-direct`, {
            headers: { authorization: `Bearer ${await system.token()}` }, body: { subdomain: host('direct'), app },
          }),
          subscribe('sync'),
          subscribe('async', { headers: callback('async') }),
          unsubscribe('beta'),
          unsubscribe('polled', { headers: callback('polled') }),
        ])
        assert.equal(broker.status, 503, broker.text)
        assert.match(broker.json.detail, DETAIL)
        for (const answer of [sync, leaving]) {
          assert.equal(answer.status, 502, answer.text)
          assert.match(answer.json.error.message, DETAIL)
        }
        assert.equal(accepted.status, 202, accepted.text)
        assert.equal(leavingLater.status, 202, leavingLater.text)
        for (const name of ['async', 'polled']) {
          const { body } = await callbackOf(name)
          assert.equal(body.status, 'FAILED')
          assert.match(body.message, DETAIL)
        }
        for (const name of ['beta', 'polled']) {
          assert.equal(await subscribed(name), 200)
          assert.ok(await hasDatabase(name))
        }
      })
    })

    it('the repeat succeeds as soon as the brokers reach the CF API again', async () => {
      await system.healed()
      await one('beta')
      await none('sync')
      isUrl(await subscribe('sync'), 'sync')
      await one('sync')
      assert.equal((await subscribe('async', { headers: callback('again') })).status, 202)
      assert.equal((await callbackOf('again')).body.status, 'SUCCEEDED')
      await one('async')
    })

    it('an unsubscription removes the route, and its repeats without subdomain succeed', async () => {
      await leaves('beta')
      assert.equal(await subscribed('beta'), 404)
      assert.ok(!await hasDatabase('beta'))
      await leaves('beta')
      await one('acme')
    })

    it('a tenant that never subscribed can unsubscribe', () => leaves('never'))

    it('an asynchronous unsubscription reports SUCCEEDED and has removed the route', async () => {
      assert.equal((await unsubscribe('polled', { headers: callback('left') })).status, 202)
      assert.equal((await callbackOf('left')).body.status, 'SUCCEEDED')
      await none('polled')
      assert.equal(await subscribed('polled'), 404)
      assert.ok(!await hasDatabase('polled'))
    })

    it('ten tenants subscribe and unsubscribe at the same time', async () => {
      const names = Array.from({ length: 10 }, (_, n) => `many${n}`)
      const answers = await Promise.all(names.map(name => subscribe(name)))
      names.forEach((name, n) => isUrl(answers[n], name))
      for (const name of names) await one(name)
      const leaving = await Promise.all(names.map(name => unsubscribe(name)))
      assert.deepEqual(leaving.map(answer => answer.status), names.map(() => 204))
      for (const name of names) await none(name)
    })

    it('no route is left when the last tenants have unsubscribed', async () => {
      for (const name of ['acme', 'later', 'patient', 'sync', 'async']) await leaves(name)
      const { resources } = await cf.get('/v3/routes?per_page=1000&label_selector=cfapi-broker.internal/managed-by')
      assert.deepEqual(resources.map(route => route.host), [])
    })
  }
}

/** The broker's text when the CF API does not answer. */
const DETAIL = /The CF API/
