// A client of the generated types: creates, reads, lists and deletes a tenant route, and reads a problem as a typed error.
// Arguments: address of the broker, token.
import createClient from 'openapi-fetch'
import type { components, paths } from './schema.js'

type Problem = components['schemas']['Problem']

const [baseUrl = '', token = ''] = process.argv.slice(2)
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } })
const same = (found: unknown, wanted: unknown, what: string) => {
  if (found !== wanted) throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`)
}

const params = { path: { tenant: 'typescript' } }
const made = await client.PUT('/routes/{tenant}', { params, body: { subdomain: 'typescript', app: 'saas-approuter' } })
same(made.response.status, 201, 'status of the creation')
same(made.data?.outcome, 'created', 'outcome')
const read = await client.GET('/routes/{tenant}', { params })
same(read.data?.routes[0]?.url, made.data?.url, 'address')
const listed = await client.GET('/routes', { params: { query: { per_page: 500 } } })
same(listed.data?.resources.filter(route => route.tenant === 'typescript').length, 1, 'listed routes')
const removed = await client.DELETE('/routes/{tenant}', { params })
same(removed.response.status, 204, 'status of the deletion')
const gone = await client.GET('/routes/{tenant}', { params })
const problem: Problem | undefined = gone.error
same(problem?.code, 'not_found', 'code of the problem')
const refused = await client.PUT('/routes/{tenant}', { params, body: { subdomain: 'typescript' } })
same(refused.error?.code, 'app_required', 'code of the problem')
console.log('typescript: created, read, listed, deleted; problems are typed')
