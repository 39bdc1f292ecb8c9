// A real CAP provider app against real brokers: what happens when tenants subscribe and leave.
// Both supported pairs of CAP and cds-mtxs, one and two broker instances behind one address, both ways of SAP BTP to tell.
import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, it, before, after } from 'node:test'
import { app, ask, cloudFoundry, domain, installed, landscape, until } from '../lib/landscape.mjs'
import { doors, providerApp } from '../lib/provider.mjs'

const node22 = path.join(installed, `node22/node_modules/node-linux-${process.arch}/bin/node`)
const versions = {
  cds9: { node: process.execPath, name: '@sap/cds 9.9.3, cds-mtxs 3.9.8' },
  cds10: { node: node22, name: '@sap/cds 10.1.1, cds-mtxs 4.1.0' },
}
const url = subdomain => `https://${subdomain}-${app}.${domain}`
const prefixOf = door => door.service.slice(0, 3)
const id = name => `${name}-${'0'.repeat(8)}-7f1c-4d11-8a4c`

// Each has a landscape of its own, and most of the time is waiting: all at once.
describe('CAP provider app', { concurrency: true }, () => {
  for (const [version, { node, name }] of Object.entries(versions)) {
    for (const instances of [1, 2]) {
      const title = `${name}, ${instances} broker${instances > 1 ? 's' : ''}`
      describe(title, { concurrency: 1 }, () => suite({ version, node, instances }))
    }
  }
})

function suite({ version, node, instances }) {
  let land, shop, cf
  before(async () => {
    land = await landscape(instances)
    const looked = Object.values(doors).flatMap(door => ['acme', 'beta', 'polled'].map(name => id(`${prefixOf(door)}-${name}`)))
    shop = await providerApp(version, node, land, looked)
    cf = await cloudFoundry(land)
  })
  after(async () => {
    await shop?.stop()
    await land?.stop()
  })

  it('t0 has a database and no route', async () => {
    assert.match(shop.child.text, /tenant: t0/)
    assert.deepEqual((await land.journal('cf')).filter(entry => entry.method !== 'GET'), [])
    assert.equal((await land.journal('xsuaa')).filter(entry => entry.grant_type === 'client_credentials').length, instances)
  })

  for (const [name, door] of Object.entries(doors)) describe(name, () => cases(door))

  if (instances > 1) {
    it('both brokers had work', () => assert.ok(land.counts.every(count => count > 10), String(land.counts)))
  }
  it('the technical user logged on once for each broker', async () => {
    const grants = (await land.journal('uaa')).filter(entry => entry.grant_type === 'password')
    assert.equal(grants.length, instances + 1) // and once for the test itself
  })

  function cases(door) {
    const prefix = prefixOf(door)
    const host = subdomain => `${prefix}-${subdomain}`
    const one = async subdomain => {
      const routes = await cf.routes(host(subdomain))
      assert.equal(routes.length, 1, JSON.stringify(routes))
      assert.deepEqual(routes[0].apps, [app])
      return routes[0]
    }
    const none = async subdomain => assert.deepEqual(await cf.routes(host(subdomain)), [])
    const subscribe = (tenant, options) => shop.subscribe(door, id(host(tenant)), host(tenant), options)
    const unsubscribe = (tenant, options) => shop.unsubscribe(door, id(host(tenant)), options)
    const subscribed = async tenant => (await shop.tenant(door, id(host(tenant)))).status
    const hasDatabase = async tenant => (await shop.read(id(host(tenant)))).status === 200
    const gone = async tenant => {
      assert.equal((await unsubscribe(tenant)).status, 204)
      await none(tenant)
    }
    const callback = name => ({ status_callback: `/callback/${prefix}/${name}` })
    const told = async name => (await shop.registry.told(`/callback/${prefix}/${name}`))
    const isUrl = (answer, tenant) => {
      assert.equal(answer.status, 200, answer.text)
      assert.ok(answer.headers.get('content-type').startsWith(door.contentType))
      assert.equal(door.url(answer), url(host(tenant)))
    }

    it('a subscription makes the route and answers its URL', async () => {
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

    it('a second tenant has a route of its own', async () => {
      isUrl(await subscribe('beta'), 'beta')
      assert.notEqual((await one('beta')).guid, (await one('acme')).guid)
    })

    it('an asynchronous subscription reports SUCCEEDED with the URL', async () => {
      const answer = await subscribe('later', { headers: callback('later') })
      assert.equal(answer.status, 202, answer.text)
      const { method, authorization, body } = await told('later')
      assert.equal(method, 'PUT')
      assert.match(authorization, /^Bearer /)
      assert.equal(body.status, 'SUCCEEDED')
      assert.equal(door.urlInCallback(body), url(host('later')))
      await one('later')
    })

    it('an asynchronous subscription without callback ends FINISHED', async () => {
      const answer = await subscribe('polled', { headers: { prefer: 'respond-async' } })
      assert.equal(answer.status, 202, answer.text)
      const [, job] = /pollJob\(ID='([^']+)'\)/.exec(answer.headers.get('location'))
      assert.equal(await shop.job(job), 'FINISHED')
      await one('polled')
    })

    it('what the broker calls repeatable is repeated after the pause that it asks for', async () => {
      await land.lever('fail_next', { part: 'cf', status: 429, headers: { 'Retry-After': '1' }, only: 'POST /v3/routes' })
      isUrl(await subscribe('patient'), 'patient')
      const creates = (await land.journal('cf')).filter(call => call.path === '/v3/routes' && call.body.includes(host('patient')))
      assert.deepEqual(creates.map(call => call.status), [429, 201])
    })

    describe('the CF API is away', () => {
      before(() => land.lever('stop', { part: 'cf' }))
      after(() => land.lever('start', { part: 'cf' }))
      // All at once: each waits as long as the broker asks for.
      it('synchronous: 502 with our detail; asynchronous: FAILED with it; the leaving tenant stays', async () => {
        const [broker, sync, accepted, leaving, leavingLater] = await Promise.all([
          ask('PUT', `${land.url}/routes/${prefix}-direct`, {
            headers: { authorization: `Bearer ${await land.token()}` }, body: { subdomain: host('direct'), app },
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
          const { body } = await told(name)
          assert.equal(body.status, 'FAILED')
          assert.match(body.message, DETAIL)
        }
        for (const name of ['beta', 'polled']) {
          assert.equal(await subscribed(name), 200)
          assert.ok(await hasDatabase(name))
        }
      })
    })

    it('the repeat succeeds once the brokers know that the CF API is back', async () => {
      await land.healed()
      await one('beta')
      await none('sync')
      isUrl(await subscribe('sync'), 'sync')
      await one('sync')
      assert.equal((await subscribe('async', { headers: callback('again') })).status, 202)
      assert.equal((await told('again')).body.status, 'SUCCEEDED')
      await one('async')
    })

    it('an unsubscription takes the route away, and so do its repeats without subdomain', async () => {
      await gone('beta')
      assert.equal(await subscribed('beta'), 404)
      assert.ok(!await hasDatabase('beta'))
      await gone('beta')
      await one('acme')
    })

    it('a tenant that never was can leave', () => gone('never'))

    it('an asynchronous unsubscription reports SUCCEEDED and has taken the route away', async () => {
      assert.equal((await unsubscribe('polled', { headers: callback('left') })).status, 202)
      assert.equal((await told('left')).body.status, 'SUCCEEDED')
      await none('polled')
      assert.equal(await subscribed('polled'), 404)
      assert.ok(!await hasDatabase('polled'))
    })

    it('ten tenants come and go at once', async () => {
      const names = Array.from({ length: 10 }, (_, n) => `many${n}`)
      const answers = await Promise.all(names.map(name => subscribe(name)))
      names.forEach((name, n) => isUrl(answers[n], name))
      for (const name of names) await one(name)
      const leaving = await Promise.all(names.map(name => unsubscribe(name)))
      assert.deepEqual(leaving.map(answer => answer.status), names.map(() => 204))
      for (const name of names) await none(name)
    })

    it('nothing but the remaining tenants is left', async () => {
      for (const name of ['acme', 'later', 'patient', 'sync', 'async']) await gone(name)
      const { resources } = await cf.get('/v3/routes?per_page=1000&label_selector=cfapi-broker.internal/managed-by')
      assert.deepEqual(resources.map(route => route.host), [])
    })
  }
}

/** How the broker words it when the CF API does not answer. */
const DETAIL = /The CF API/
