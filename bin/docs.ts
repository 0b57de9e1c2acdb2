/** `npm run docs`: writes the parts of the documentation that are generated from the code. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { findModules } from '../lib/main.js'
import { conformancePage, titlesOf } from './conformance.js'
import { configurationPage, schemaFile, withTable } from './pages.js'

const modules = await findModules(fileURLToPath(new URL('../modules/', import.meta.url)))
const readme = join(PACKAGE_ROOT, 'README.md')
writeFileSync(join(PACKAGE_ROOT, 'docs', 'configuration.md'), configurationPage(modules))
writeFileSync(join(PACKAGE_ROOT, 'conf', 'sestina.schema.json'), schemaFile(modules))
writeFileSync(readme, withTable(readFileSync(readme, 'utf8'), modules))

const folder = join(PACKAGE_ROOT, 'docs', 'conformance')
for (const name of readdirSync(folder).filter(name => name.endsWith('.rules'))) {
  const page = conformancePage(readFileSync(join(folder, name), 'utf8'), file =>
    titlesOf(readFileSync(join(PACKAGE_ROOT, `${file}.test.ts`), 'utf8')))
  writeFileSync(join(folder, name.replace('.rules', '.md')), page)
}
