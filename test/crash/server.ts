/** The server that is killed, and started again on the same data. */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Program, run } from '../interop/process.js'
import { PASSWORD } from './line.js'
import { SESTINA } from '../sestina.js'

/** Starts the server. Resolves once it accepts connections at this port. */
export async function startServer (conf: string, port: number): Promise<Program> {
  const program = new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { input: '', env: { NOTIFY_SOCKET: '' }, isMeasured: false })
  const ended = program.ended.then(code => { throw new Error(`the server ended with ${code}: ${program.said}`) })
  await Promise.race([ended, listening(port)])
  return program
}

export async function addUser (conf: string, address: string): Promise<void> {
  await run(process.execPath, [SESTINA, 'user', 'add', address, '--password-stdin', '--conf', conf], { input: `${PASSWORD}\n`, isMeasured: false })
}

async function listening (port: number): Promise<void> {
  for (;;) {
    try {
      await new Promise<void>((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve() })
        socket.once('error', reject)
      })
      return
    } catch {
      await sleep(10)
    }
  }
}
