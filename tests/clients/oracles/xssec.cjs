// npm @sap/xssec: judges each token of the corpus that comes on standard input, at the corpus's own time.
const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')
const { XsuaaService } = createRequire(`${process.env.PACKAGES}/`)('@sap/xssec')

const { now, binding, scope, tokens } = JSON.parse(readFileSync(0))
Date.now = () => now * 1000

async function judge(token) {
  try {
    const context = await new XsuaaService({ ...binding }).createSecurityContext(token)
    return { accepted: true, scope: context.checkLocalScope(scope) }
  } catch (error) {
    return { accepted: false, why: `${error.name}: ${error.message}`.slice(0, 200) }
  }
}

async function main() {
  const verdicts = []
  for (const token of tokens) verdicts.push(await judge(token))
  console.log(JSON.stringify(verdicts))
}

main()
