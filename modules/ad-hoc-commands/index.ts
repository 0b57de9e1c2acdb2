/** XEP-0050 Ad-Hoc Commands: runs the commands that other modules declare, for the host, accounts and entities. */
import {
  adHocCommands, attributeOf, defineModule, discovery, follow, mayKnow, NS, octets, offersChanged, rosters, siteOf,
  StanzaError,
} from '../../lib/api.js'
import type {
  AdHocCommand, Answer, CommandAsker, CommandRun, DiscoItem, Discovery, DiscoNode, Jid, Maybe, ModuleHost, Request,
} from '../../lib/api.js'
import { actionIn, answersIn, badPayload, canceled, completed, fault, isSubmitted, shownStep, type Action } from './elements.js'
import { Runs, type Run } from './runs.js'

type Place = AdHocCommand['at']
const PLACES = ['host', 'account', 'entity'] as const

export default defineModule({
  name: 'ad-hoc-commands',
  about: 'Runs the ad-hoc commands of other modules.',
  xeps: ['0050 v1.3.0'],
  at: 'everywhere',
  after: ['disco', 'roster'],

  setup (host) {
    const commands = new Commands(host)
    host.provide(adHocCommands, { declare: command => commands.add(command) })
    host.iq.set('host', NS.COMMANDS, 'command', request => commands.answer('host', request))
    host.iq.set('entity', NS.COMMANDS, 'command', request => commands.answer('entity', request))
    host.iq.set('account', NS.COMMANDS, 'command', request => {
      const { from, to } = request.stanza
      return follow(mayKnow(from, to, host.find(rosters)), allowed => {
        if (!allowed) throw new StanzaError('service-unavailable') // as for an account that does not exist
        return commands.answer('account', request)
      })
    })
    listInDisco(host, commands)
  },
})

/** Shows the commands in disco while that is on. It may be turned on or off by a reload. */
function listInDisco (host: ModuleHost, commands: Commands): void {
  let shown: Discovery | undefined
  let added: (() => void)[] = []
  const show = (): void => {
    const disco = host.find(discovery)
    if (disco === shown) return
    shown = disco
    added = disco === undefined ? [] : PLACES.flatMap(place => [
      disco.feature(place, () => commands.has(place) ? [NS.COMMANDS] : []),
      disco.node(place, (node, request) => commands.node(place, node, askerOf(request))),
    ])
  }
  host.on(offersChanged, show, 'record')
  host.whileUp(() => {
    show()
    return () => {
      for (const remove of added.splice(0)) remove()
      shown = undefined
    }
  })
}

class Commands {
  readonly #byPlace: Readonly<Record<Place, Map<string, AdHocCommand>>> = {
    host: new Map(), account: new Map(), entity: new Map(),
  }

  readonly #runs: Runs

  constructor ({ clock, ids, router }: ModuleHost) {
    const groupOf = (asker: Jid): string => router.serves(asker.domain) ? asker.bare.toString() : siteOf(asker.domain)
    this.#runs = new Runs(clock, ids, groupOf)
  }

  has (place: Place): boolean { return this.#byPlace[place].size > 0 }

  add (command: AdHocCommand): () => void {
    const { at, node } = command
    const commands = this.#byPlace[at]
    if (commands.has(node)) throw new Error(`two commands of the ${at} have the node '${node}'`)
    commands.set(node, command)
    return () => { commands.delete(node) }
  }

  // ---- Disco (XEP-0050 §2) ----------------------------------------------------------------------------------

  node (place: Place, node: string, asker: CommandAsker): Maybe<DiscoNode | undefined> {
    if (!this.has(place)) return undefined
    if (node === NS.COMMANDS) return this.#list(place, asker)
    const command = this.#byPlace[place].get(node)
    if (command === undefined) return undefined
    return follow(command.mayRun(asker), may => {
      if (!may) throw forbidden()
      const identity = { category: 'automation', type: 'command-node', name: command.name }
      return { info: { identities: [identity], features: [NS.COMMANDS, NS.DATA] }, items: [] }
    })
  }

  async #list (place: Place, asker: CommandAsker): Promise<DiscoNode> {
    const items: DiscoItem[] = []
    for (const command of this.#byPlace[place].values()) {
      const { node, name } = command
      if (await command.mayRun(asker)) items.push({ jid: asker.to, node, name })
    }
    const identity = { category: 'automation', type: 'command-list', name: 'Commands' }
    return { info: { identities: [identity], features: [NS.COMMANDS] }, items }
  }

  // ---- Running (XEP-0050 §3, §4) ----------------------------------------------------------------------------

  answer (place: Place, request: Request): Answer {
    const { payload } = request
    const node = attributeOf(payload, 'node')
    if (node === undefined) throw new StanzaError('bad-request', 'the node is missing')
    const command = this.#byPlace[place].get(node)
    if (command === undefined) throw new StanzaError('item-not-found')
    const asker = askerOf(request)
    return follow(command.mayRun(asker), may => {
      if (!may) throw forbidden()
      const action = actionIn(payload)
      const id = attributeOf(payload, 'sessionid')
      if (id !== undefined) {
        return this.#goOn(command, action, this.#runs.find(id, node, asker.asker, asker.to), request)
      }
      const run = this.#runs.make(node, asker.asker, asker.to)
      const only = command.steps?.length === 1 ? command.steps[0] : undefined
      // XEP-0317 §3.3: who knows the form may submit it at once.
      if (only !== undefined && (action === 'execute' || action === 'complete') && isSubmitted(payload)) {
        return this.#finish(command, run, request, [answersIn(payload, only)])
      }
      if (action !== 'execute') throw fault('bad-action', 'the command does not run yet')
      return command.steps === undefined || command.steps.length === 0
        ? this.#finish(command, run, request, [])
        : this.#show(command, run, request)
    })
  }

  #goOn (command: AdHocCommand, action: Action, run: Run, request: Request): Answer {
    const steps = command.steps ?? []
    const step = steps[run.step]
    if (action === 'cancel' || step === undefined) {
      this.#runs.end(run)
      if (step === undefined) throw fault('session-expired')
      return canceled(run)
    }
    const isLast = run.step === steps.length - 1
    const wanted = action === 'execute' ? isLast ? 'complete' : 'next' : action
    if (wanted === 'prev') return this.#goBack(command, run, request)
    if (isLast !== (wanted === 'complete')) throw fault('bad-action')
    const answers = [...run.answers, answersIn(request.payload, step)]
    if (isLast) return this.#finish(command, run, request, answers)
    const next = { ...run, step: run.step + 1, answers, bytes: run.bytes + octets(request.payload).length }
    return this.#show(command, next, request)
  }

  #goBack (command: AdHocCommand, run: Run, request: Request): Answer {
    if (run.step === 0) throw fault('bad-action', 'this is the first step')
    return this.#show(command, { ...run, step: run.step - 1, answers: run.answers.slice(0, -1) }, request)
  }

  /** Shows the step of a run. If the form cannot be made, the run stays where it was. */
  #show ({ steps = [] }: AdHocCommand, run: Run, request: Request): Answer {
    const step = steps[run.step]
    if (step === undefined) throw fault('session-expired')
    return follow(step.filled?.(runOf(request, run.answers)), filled => {
      this.#runs.keep(run)
      return shownStep(run, step.form.form(filled), run.step, steps.length)
    })
  }

  #finish (command: AdHocCommand, run: Run, request: Request, answers: CommandRun['answers']): Answer {
    const isKept = run.at > 0
    if (isKept) this.#runs.end(run) // a second request finds it ended
    const failed = (error: unknown): never => {
      if (isKept) this.#runs.keep(run)
      throw badPayload(error)
    }
    try {
      const result = command.finish(runOf(request, answers))
      if (result instanceof Promise) return result.then(result => completed(run, result), failed)
      return completed(run, result)
    } catch (error) {
      return failed(error)
    }
  }
}

/** XEP-0050 §4.4: of type cancel, because a login changes nothing. */
function forbidden (): StanzaError { return new StanzaError('forbidden', undefined, { type: 'cancel' }) }

function askerOf ({ stanza: { from, to }, session, entity }: Request): CommandAsker {
  return { asker: from, to, session, entity }
}

function runOf (request: Request, answers: CommandRun['answers']): CommandRun {
  return { ...askerOf(request), answers, batch: request.batch, payer: request.payer }
}
