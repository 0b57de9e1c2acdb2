/** Decides whether code or a conf file is safe to use: whether only root and this user can change it. */
import { statSync } from 'node:fs'
import { dirname } from 'node:path'

/** The bits of a mode that let the group or everybody write. */
const WRITABLE = 0o022
/** In a folder with this bit, a user can rename and remove only what that user owns. */
const STICKY = 0o1000

/** True if a user other than root and the user of this process may change the file or folder. */
export function isOfOthers (path: string): boolean {
  const { uid, mode } = statSync(path)
  return isForeign(uid) || (mode & WRITABLE) !== 0
}

/**
 * Returns why another user could change or replace the file or folder, and the remedy; undefined if only root and the
 * user of this process can. Checks each folder above, too. `path` is absolute and has no symbolic links.
 */
export function whyUnsafe (path: string): string | undefined {
  for (let part = path; ; part = dirname(part)) {
    const { uid, mode } = statSync(part)
    if (isForeign(uid)) {
      return `${part} belongs to another user (uid ${uid}), and only root and the server's own user may own code that the server runs: chown root ${part}`
    }
    const isSafe = (mode & WRITABLE) === 0 || part !== path && (mode & STICKY) !== 0
    if (!isSafe) return `other users may write ${part}: chmod go-w ${part}`
    if (dirname(part) === part) return undefined
  }
}

/** True if the owner is neither root nor the user of this process. Systems without such users have no foreign files. */
function isForeign (uid: number): boolean {
  const own = process.getuid?.()
  return own !== undefined && uid !== 0 && uid !== own
}
