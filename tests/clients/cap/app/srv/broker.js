// Calls cfapi-broker as this app's own XSUAA client (binding-secret credentials); needs no package.
const cds = require('@sap/cds')

const TIMEOUT = 60_000 // the broker answers within 55 s
const REPEATS = 2
const LONGEST_PAUSE = 10 // seconds; a longer Retry-After ends the repeats
const QUEUE = 120_000 // how long a call that was not begun (429) is repeated
const REMOVAL = 60_000 // how long a removal that CF has accepted (202) is followed

let cached = { value: null, until: 0 }

/** Returns the client-credentials token; it is cached until a minute before it ends. */
async function token() {
  if (Date.now() < cached.until) return cached.value
  const { url, clientid, clientsecret } = cds.env.requires.auth.credentials
  const answer = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    headers: { accept: 'application/json' },
    body: new URLSearchParams({ grant_type: 'client_credentials', client_id: clientid, client_secret: clientsecret }),
    signal: AbortSignal.timeout(TIMEOUT),
  })
  if (!answer.ok) throw new Error(`XSUAA returned no token (status ${answer.status})`)
  const { access_token, expires_in } = await answer.json()
  cached = { value: access_token, until: Date.now() + (expires_in - 60) * 1000 }
  return access_token
}

async function once(method, path, body) {
  const answer = await fetch(process.env.CFAPI_BROKER_URL + path, {
    method,
    headers: {
      authorization: `Bearer ${await token()}`,
      'x-correlationid': cds.context?.id ?? cds.utils.uuid(),
      ...(body && { 'content-type': 'application/json' }),
    },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT),
  })
  const text = await answer.text()
  const json = text && /json/.test(answer.headers.get('content-type')) ? JSON.parse(text) : {}
  const pause = Number(answer.headers.get('retry-after') ?? 1)
  return { status: answer.status, ok: answer.ok, json, pause, location: answer.headers.get('location') }
}

const wait = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))

/** Repeats a call if the broker says that it is retryable. The error has the broker's own text. */
async function call(method, path, body) {
  const queuedUntil = Date.now() + QUEUE
  for (let left = REPEATS; ; ) {
    const answer = await once(method, path, body).catch(error => ({ json: { detail: `cfapi-broker: ${error.message}` } }))
    if (answer.ok) return answer
    if (answer.status === 429 && Date.now() + answer.pause * 1000 < queuedUntil) {
      await wait(answer.pause)
      continue
    }
    if (answer.status !== 429 && left > 0 && answer.json.retryable && answer.pause <= LONGEST_PAUSE) {
      left--
      await wait(answer.pause)
      continue
    }
    const detail = answer.json.detail ?? `cfapi-broker answered ${answer.status}`
    // In production CAP replaces the text of a 5xx unless $sanitize is false.
    throw Object.assign(new Error(detail), { status: 502, $sanitize: false })
  }
}

/** Removes the tenant's route. CF may take longer than the call (202): then the operation is followed for a while. */
async function remove(tenant) {
  const until = Date.now() + REMOVAL
  for (let left = REPEATS; ; left--) {
    const { status, location, pause } = await call('DELETE', `/routes/${tenant}`)
    if (status !== 202) return
    const operation = location.slice(location.indexOf('/routes/operations/'))
    let state = { status: 'running' }
    while (state.status === 'running' && Date.now() < until) {
      await wait(pause)
      state = (await call('GET', operation)).json
    }
    if (state.status !== 'failed') return // still running: the broker lets nobody use the route
    if (left === 0) throw Object.assign(new Error(state.problem.detail), { status: 502, $sanitize: false })
  }
}

const routeRequest = metadata => ({ ...metadata, app: process.env.CFAPI_BROKER_APP })

module.exports = {
  ensure: async (tenant, metadata) => (await call('PUT', `/routes/${tenant}`, routeRequest(metadata))).json,
  preview: async payload => {
    const tenant = payload.subscribedTenantId ?? payload.subscriber?.app_tid
    return (await call('PUT', `/routes/${tenant}?dry_run=true`, routeRequest(payload))).json
  },
  remove,
}
