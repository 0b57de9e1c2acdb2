/** Many users at once: they log in with a bounded number at a time, and leave together. */
import { Client, type Target } from '../client.js'

/** Calls `task` for each item, at most `width` at a time. Throws the error of the first task that fails. */
export async function inParallel<T> (
  items: readonly T[], width: number, task: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = items.values()
  const walk = async (): Promise<void> => {
    for (const item of waiting) await task(item)
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, walk))
}

/**
 * Logs in the users. Resolves after each has received its roster and sent initial presence; the result is in their
 * order.
 */
export async function gather (target: Target, users: readonly string[]): Promise<Client[]> {
  const found = new Map<string, Client>()
  await inParallel(users, 32, async user => { found.set(user, await arrive(target, user)) })
  return users.map(user => found.get(user)).filter(client => client !== undefined)
}

/** Logs in as a client does: stream, SCRAM, bind, roster, initial presence. */
export async function arrive (target: Target, user: string, resource = 'bench'): Promise<Client> {
  const client = await Client.login(target, user, resource)
  await ask(client)
  return client
}

/** Does what a client does after binding: asks for the roster and sends initial presence. */
export async function ask (client: Client): Promise<void> {
  client.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>")
  await client.expect(answerTo('roster'))
}

/** Resolves when the server has handled everything the client sent before. */
export async function settled (client: Client, domain: string): Promise<void> {
  client.send(`<iq type='get' id='settled' to='${domain}'><ping xmlns='urn:xmpp:ping'/></iq>`)
  await client.expect(answerTo('settled'))
}

/** Closes all streams in order, 50 at a time. */
export async function leave (clients: readonly Client[]): Promise<void> {
  await inParallel(clients, 50, async client => { await client.close() })
}

/** Resolves after a number of seconds. */
export async function pause (seconds: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
}

function answerTo (id: string): RegExp {
  return new RegExp(`<iq [^>]*id=['"]${id}['"][^>]*>`)
}
