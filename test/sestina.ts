/** The built command `sestina`, for tests that run it. */
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../lib/base/package.js'

/** The path of the script that `node` runs. */
export const SESTINA = join(PACKAGE_ROOT, 'dist', 'bin', 'sestina.js')
