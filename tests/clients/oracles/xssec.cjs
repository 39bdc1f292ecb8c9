// npm @sap/xssec: verifies each token of the corpus on standard input, at the time of the corpus.
const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')
const { XsuaaService } = createRequire(`${process.env.PACKAGES}/`)('@sap/xssec')

const { now, binding, scope, tokens } = JSON.parse(readFileSync(0))
Date.now = () => now * 1000

async function verify(token) {
  try {
    const context = await new XsuaaService({ ...binding }).createSecurityContext(token)
    return { accepted: true, scope: context.checkLocalScope(scope) }
  } catch (error) {
    return { accepted: false, why: `${error.name}: ${error.message}`.slice(0, 200) }
  }
}

async function main() {
  const decisions = []
  for (const token of tokens) decisions.push(await verify(token))
  console.log(JSON.stringify(decisions))
}

main()
