/** Errors that an operator meets at a start, in words that say what to do. */

/** What `error` says to whoever gave the command. */
export function explain (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const [code, syscall, path, port, address] = ['code', 'syscall', 'path', 'port', 'address'].map(name => fieldOf(error, name))
  if (syscall === 'listen' && code === 'EADDRINUSE') {
    return `port ${port ?? ''} is in use by another program: stop that, or set another port at [[listen]] in the conf file`
  }
  if (syscall === 'listen' && code === 'EACCES') {
    return `this user may not listen on port ${port ?? ''}: ports below 1024 need CAP_NET_BIND_SERVICE, or set another at [[listen]] in the conf file`
  }
  if (syscall === 'listen' && code === 'EADDRNOTAVAIL') {
    return `this machine does not have the address ${address ?? ''}: set another at [[listen]] in the conf file`
  }
  if (path !== undefined && (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')) {
    return `no permission to write or read ${path} (${code}): it has to belong to the user who runs the server`
  }
  if (code === 'ENOSPC') return `the disk is full${path === undefined ? '' : `: ${path} could not be written`}`
  return error.message
}

/** What Node tells of a failed call to the system. */
function fieldOf (error: Error, name: string): string | undefined {
  const value: unknown = Object.getOwnPropertyDescriptor(error, name)?.value
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
