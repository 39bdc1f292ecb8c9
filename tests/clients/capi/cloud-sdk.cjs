// npm @sap-cloud-sdk/http-client: the six calls of the multitenancy samples. Only the destination is different.
// It comes from the environment, as in local development. In production a destination has the same URL and client.
const { createRequire } = require('node:module')
const { executeHttpRequest } = createRequire(`${process.env.PACKAGES}/`)('@sap-cloud-sdk/http-client')

const { APP, DOMAIN, SPACE: space, ORGANIZATION: organization } = process.env
const call = (method, url, data) => executeHttpRequest({ destinationName: 'CFAPI' }, { method, url, data })
const followed = []
const follow = url => { followed.push(url); return call('get', new URL(url).pathname) }
const first = answer => answer.data.resources[0]

async function main() {
  const spaces = []
  for (let url = '/v3/spaces?per_page=1'; url;) {
    const { data } = await call('get', url)
    spaces.push(...data.resources.map(space => space.name))
    const next = data.pagination.next?.href
    if (next) followed.push(next)
    url = next && new URL(next).pathname + new URL(next).search
  }
  const app = async () => first(await call('get', `/v3/apps?organization_guids=${organization}&space_guids=${space}&names=${APP}`))
  const domain = async () => first(await call('get', `/v3/domains?names=${DOMAIN}`))

  // On subscribe
  const host = `sdk-${APP}`
  const [{ guid: appGuid }, { guid: domainGuid }] = [await app(), await domain()]
  const body = { host, relationships: { space: { data: { guid: space } }, domain: { data: { guid: domainGuid } } } }
  const { data: route } = await call('post', '/v3/routes', body)
  const again = await call('post', '/v3/routes', body).then(() => null, error => [error.response.status, error.response.data])
  const mapped = await call('post', `/v3/routes/${route.guid}/destinations`, { destinations: [{ app: { guid: appGuid } }] })

  // On unsubscribe
  const [leaving] = [await app(), await domain()]
  const found = (await call('get', `/v3/apps/${leaving.guid}/routes?hosts=${host}`)).data
  const destinations = found.resources[0].destinations
  const deleted = await call('delete', `/v3/routes/${found.resources[0].guid}`)
  let job = 'PROCESSING'
  while (job === 'PROCESSING') {
    await new Promise(resolve => setTimeout(resolve, 250))
    job = (await follow(deleted.headers.location)).data.state
  }
  const left = (await call('get', `/v3/routes?hosts=${host}`)).data.pagination.total_results
  console.log(JSON.stringify({
    spaces, route: route.guid, again, mapped: mapped.status, found: found.resources.map(one => one.guid),
    destinations: destinations.map(one => one.app.guid === appGuid), space: (await follow(route.links.space.href)).data.name, job, left, followed,
  }))
}

main()
