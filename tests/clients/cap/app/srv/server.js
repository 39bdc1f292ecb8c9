// The hooks that create and remove tenant routes on subscribe and unsubscribe. The calls are in broker.js.
const cds = require('@sap/cds')
const broker = require('./broker')

cds.on('served', () => {
  const {
    'cds.xt.DeploymentService': deployment,
    'cds.xt.SaasProvisioningService': registry,
    'cds.xt.SmsProvisioningService': manager,
  } = cds.services
  const t0 = cds.env.requires.multitenancy?.t0 ?? 't0'

  // On DeploymentService, so that it is also part of the asynchronous job. The route is removed before the data, so that a
  // failure keeps the tenant.
  deployment.prepend(() => {
    deployment.after('subscribe', async (_, req) => {
      if (req.data.tenant !== t0) await broker.ensure(req.data.tenant, req.data.metadata)
    })
    deployment.before('unsubscribe', async req => {
      if (req.data.tenant !== t0) await broker.remove(req.data.tenant)
    })
  })

  // CAP asks for the URL before the job runs, so the route may not exist yet.
  for (const service of [registry, manager].filter(Boolean)) {
    service.prepend(() => service.on('getAppUrl', async req => (await broker.preview(req.data.subscriptionPayload)).url))
  }
})

module.exports = cds.server
