// Calls cfapi-broker as this app's own XSUAA client (binding-secret credentials); needs no package.
const cds = require('@sap/cds')

const TIMEOUT = 60_000 // the broker answers within 55 s
const REPEATS = 2
const LONGEST_PAUSE = 10 // seconds; a longer Retry-After ends the repeats

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
  return { status: answer.status, ok: answer.ok, json, pause: Number(answer.headers.get('retry-after') ?? 1) }
}

/** Repeats a call if the broker says that it is retryable. The error has the broker's own text. */
async function call(method, path, body) {
  for (let left = REPEATS; ; left--) {
    const answer = await once(method, path, body).catch(error => ({ json: { detail: `cfapi-broker: ${error.message}` } }))
    if (answer.ok) return answer.json // 202 of a removal is a success: the broker completes it
    if (left > 0 && answer.json.retryable && answer.pause <= LONGEST_PAUSE) {
      await new Promise(resolve => setTimeout(resolve, answer.pause * 1000))
      continue
    }
    const detail = answer.json.detail ?? `cfapi-broker answered ${answer.status}`
    // In production CAP replaces the text of a 5xx unless $sanitize is false.
    throw Object.assign(new Error(detail), { status: 502, $sanitize: false })
  }
}

const routeRequest = metadata => ({ ...metadata, app: process.env.CFAPI_BROKER_APP })

module.exports = {
  ensure: (tenant, metadata) => call('PUT', `/routes/${tenant}`, routeRequest(metadata)),
  preview: payload => {
    const tenant = payload.subscribedTenantId ?? payload.subscriber?.app_tid
    return call('PUT', `/routes/${tenant}?dry_run=true`, routeRequest(payload))
  },
  remove: tenant => call('DELETE', `/routes/${tenant}`),
}
