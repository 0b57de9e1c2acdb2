/** The command with which an owner asks for the subscriptions that wait for approval (XEP-0060 §8.7). */
import type { AdHocCommand } from '../host/ad-hoc.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field } from '../xmpp/form.js'
import type { Jid } from '../xmpp/jid.js'
import { affiliationOf, mustOwn } from './access.js'
import type { PubSubEngine } from './engine.js'
import { isCurrent, type Node } from './node.js'

const GET_PENDING = `${NS.PUBSUB}#get-pending`

const LABEL = { label: 'The node whose requests are wanted', required: true }
const NODE = field.option('pubsub#node', [], LABEL)
const FORM = new DataForm(NS.PUBSUB_SUBSCRIBE_AUTHORIZATION, [NODE])

/** Returns the command for the nodes of the services of an engine. Only owners of nodes may run it. */
export function pendingCommand (engine: PubSubEngine): AdHocCommand {
  const owned = async (service: Jid, jid: Jid): Promise<readonly Node[]> => {
    const asker = await engine.asker(service, jid)
    return [...(await engine.nodes(service)).values()].filter(node => affiliationOf(node, asker) === 'owner')
  }
  return {
    node: GET_PENDING,
    name: 'Get pending subscription requests',
    at: 'host',
    mayRun: async ({ to, asker }) => (await owned(to, asker)).length > 0, // §8.7.3.3
    steps: [{
      form: FORM,
      filled: async ({ to, asker }) => {
        const names = (await owned(to, asker)).filter(isAwaited).map(({ name }) => name)
        return [{ field: field.option(NODE.name, names, LABEL), values: [] }]
      },
    }],
    async finish ({ answers: [answers], to, asker }) {
      const node = (await engine.nodes(to)).get(answers?.get(NODE) ?? '')
      if (node === undefined) throw new StanzaError('item-not-found') // §8.7.3.4
      const owner = await engine.asker(to, asker)
      mustOwn(node, owner)
      for (const one of node.subscriptions) {
        if (one.state === 'pending' && isCurrent(one, owner.now)) engine.delivery.ask(to, node, one, asker)
      }
      return {}
    },
  }
}

/** True if somebody waits for an owner of the node. */
function isAwaited ({ subscriptions }: Node): boolean { return subscriptions.some(({ state }) => state === 'pending') }
