/** Checks of the hosts that are services: which modules run there, and which host shows them. */
import type { Path, Tree } from './read.js'
import { didYouMean, shown } from './words.js'

/**
 * 'accounts': hosts with accounts, the usual place of a module. 'services': hosts that name the module with `service`.
 * 'everywhere': all hosts.
 */
export type ModulePlace = 'accounts' | 'services' | 'everywhere'

type Terms = ReadonlyMap<string, { readonly at?: ModulePlace }>
interface Shown {
  readonly service: readonly string[] | undefined
  readonly parent: string | undefined
  readonly entities?: number | undefined
  readonly entityBytes?: number | undefined
}

interface Mistake { readonly path: Path, readonly text: string }

/** True if a host may run the module. `service`: the modules that serve the host; undefined if it has accounts. */
export function mayRun (name: string, at: ModulePlace = 'accounts', service: readonly string[] | undefined): boolean {
  if (at === 'everywhere') return true
  return service === undefined ? at === 'accounts' : at === 'services' && service.includes(name)
}

/** Returns the modules that are written for a host and cannot run there. `own` is the host's table of modules. */
export function misplacedModules (
  domain: string, service: readonly string[] | undefined, own: Tree, terms: Terms,
): readonly Mistake[] {
  const services = [...terms].filter(([, { at }]) => at === 'services').map(([name]) => name)
  const named = (service ?? []).flatMap((name): Mistake[] => {
    const path = ['host', domain, 'service']
    if (services.includes(name)) return []
    if (terms.has(name)) return [{ path, text: `${name} serves no host of its own` }]
    return [{ path, text: `there is no module '${name}'${didYouMean(name, services)}` }]
  })
  const written = Object.entries(own).flatMap(([name, value]): Mistake[] => {
    const module = terms.get(name)
    if (module === undefined || value === false || mayRun(name, module.at, service)) return []
    const text = module.at === 'services'
      ? `${name} serves hosts of its own: name it there, service = ${JSON.stringify(name)}`
      : `${name} is for accounts, and ${domain} is a service`
    return [{ path: ['host', domain, 'modules', name], text }]
  })
  return [...named, ...written]
}

/** The other settings that only a service has. */
const OF_SERVICES = ['entities', 'entityBytes'] as const

/** Returns the settings of services that hosts with accounts have. */
export function misplacedSettings (hosts: ReadonlyMap<string, Shown>): readonly Mistake[] {
  return [...hosts].flatMap(([domain, host]): Mistake[] => {
    const own = host.service === undefined ? OF_SERVICES.filter(name => host[name] !== undefined) : []
    return own.map(name => ({ path: ['host', domain, name], text: `${name} is for hosts with service` }))
  })
}

/** Returns the hosts with a `parent` that cannot show them. */
export function misplacedParents (hosts: ReadonlyMap<string, Shown>): readonly Mistake[] {
  return [...hosts].flatMap(([domain, { service, parent }]): Mistake[] => {
    const path = ['host', domain, 'parent']
    if (parent === undefined) return []
    if (service === undefined) return [{ path, text: 'parent is for hosts with service' }]
    if (hosts.get(parent)?.service === undefined && hosts.has(parent)) return []
    const accounts = [...hosts].filter(([, host]) => host.service === undefined).map(([name]) => name)
    return [{ path, text: `${shown(parent)} is not a host with accounts${didYouMean(parent, accounts)}` }]
  })
}
