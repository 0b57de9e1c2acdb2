/** `npm run docs`: writes the parts of the documentation that are generated from the code. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { findModules } from '../lib/main.js'
import { configurationPage, schemaFile, withTable } from './pages.js'

const modules = await findModules(fileURLToPath(new URL('../modules/', import.meta.url)))
const readme = join(PACKAGE_ROOT, 'README.md')
writeFileSync(join(PACKAGE_ROOT, 'docs', 'configuration.md'), configurationPage(modules))
writeFileSync(join(PACKAGE_ROOT, 'conf', 'sestina.schema.json'), schemaFile(modules))
writeFileSync(readme, withTable(readFileSync(readme, 'utf8'), modules))
