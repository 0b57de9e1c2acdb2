/** Another server as the core sees it, without streams. */
import { ReleaseOrder } from '../lib/host/order.js'
import { takeFromServer } from '../lib/host/pipeline/entry.js'
import type { ServerHome } from '../lib/host/pipeline/from-server.js'
import { handled, type Passage, type Step } from '../lib/host/pipeline/passage.js'
import type { Destination } from '../lib/host/router.js'
import type { Server } from '../lib/host/server.js'
import type { Addressed } from '../lib/xmpp/stanza.js'

/** Returns a destination for all other domains, which tells `heard` of each stanza. */
export function elsewhere (heard: (stanza: Addressed) => void = () => {}): Destination {
  const take = ({ addressed }: Passage): ReturnType<Step<undefined>> => {
    heard(addressed)
    return handled('heard by the test')
  }
  return { place: 'elsewhere', accept: (passage, runner) => runner.run(passage, [take], undefined), bounced () {} }
}

/** Returns a function that takes stanzas as if they came on one stream of a server that has proved all its domains. */
export function foreigner (server: Server): (stanza: Addressed) => Promise<void> {
  const { pipeline, router } = server
  const home: ServerHome = {
    router,
    host: domain => server.host(domain),
    stream: {
      order: new ReleaseOrder(pipeline.storage), lang: undefined,
      mayCarry: () => true, isAnswer: () => false, charge () {},
    },
  }
  return async stanza => { await takeFromServer(pipeline, home, stanza) }
}
