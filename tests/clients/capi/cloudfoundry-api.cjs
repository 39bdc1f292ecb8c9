// npm @cloudfoundry/api 0.1.7: a tenant's route from creation to deletion. Only URL and token are given.
// The package has calls only for spaces and organizations. All others use its HTTP client.
const { createRequire } = require('node:module')
const { CloudFoundryClient } = createRequire(`${process.env.PACKAGES}/`)('@cloudfoundry/api')

const { URL: apiEndpoint, TOKEN, APP, DOMAIN } = process.env
const cf = new CloudFoundryClient({ apiEndpoint, accessToken: `bearer ${TOKEN}` })
const http = cf.client
const followed = []
const follow = url => { followed.push(url); return http.get(url) }
const first = answer => answer.data.resources[0]

async function main() {
  const spaces = []
  for (let page = await cf.spaces.list({ per_page: 1 }); ;) {
    spaces.push(...page.data.resources.map(space => space.name))
    if (!page.data.pagination.next) break
    page = await follow(page.data.pagination.next.href)
  }
  const app = first(await http.get('/v3/apps', { params: { names: [APP] } }))
  const { data: space } = await cf.spaces.get(app.relationships.space.data.guid)
  const organization = await cf.organizations.get(space.relationships.organization.data.guid)
  const domain = first(await http.get('/v3/domains', { params: { names: [DOMAIN] } }))
  const host = `node-${APP}`
  const relationships = { space: { data: { guid: space.guid } }, domain: { data: { guid: domain.guid } } }
  const { data: route } = await http.post('/v3/routes', { host, relationships })
  const again = await http.post('/v3/routes', { host, relationships }).then(() => null, error => [error.response.status, error.response.data])
  const mapped = await http.post(route.links.destinations.href, { destinations: [{ app: { guid: app.guid } }] })
  const found = (await http.get('/v3/routes', { params: { hosts: [host] } })).data.resources.map(one => one.guid)
  const destinations = (await follow(route.links.destinations.href)).data.destinations
  const deleted = await http.delete(route.links.self.href)
  let job = 'PROCESSING'
  while (job === 'PROCESSING') {
    await new Promise(resolve => setTimeout(resolve, 250))
    job = (await follow(deleted.headers.location)).data.state
  }
  const left = (await http.get('/v3/routes', { params: { hosts: [host] } })).data.pagination.total_results
  console.log(JSON.stringify({
    spaces, organization: organization.data.name, route: route.guid, again, mapped: mapped.status, found,
    destinations: destinations.map(one => one.app.guid === app.guid), space: (await follow(route.links.space.href)).data.name,
    job, left, followed,
  }))
}

main()
