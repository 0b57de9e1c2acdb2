/* Checks that Node is new enough, before all else. It is old JavaScript, so that an old Node can print the message. */
'use strict'
const wanted = /(\d+)\.(\d+)/.exec(require('../package.json').engines.node)
const found = /(\d+)\.(\d+)/.exec(process.versions.node)
if (Number(found[1]) < Number(wanted[1]) || (found[1] === wanted[1] && Number(found[2]) < Number(wanted[2]))) {
  console.error('Sestina needs Node ' + wanted[0] + ' or later, and this is Node ' + process.versions.node + '. See https://nodejs.org/en/download')
  process.exit(1)
}
