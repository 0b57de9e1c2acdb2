/** Logins without the password, by SASL and SASL2 in any order: none succeeds, and each is answered. */
import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { selfSigned } from '../../lib/stream/self-signed.js'
import { auth, DOMAIN, header, PASSWORD, SASL, Stage, type Client } from '../c2s/stage.js'
import { cases, text, type Target } from './target.js'

const SASL2 = 'urn:xmpp:sasl:2'
const base64 = (given: string): string => Buffer.from(given).toString('base64')

/**
 * Messages of SCRAM, first and last (`%n` stands for the nonce of the challenge), of PLAIN and of hashed tokens; and
 * nonsense.
 */
const first = fc.tuple(fc.constantFrom('n,,', 'y,,', 'p=tls-exporter,,', 'n,a=juliet@montague.lit,', ''), fc.constantFrom('romeo', 'nobody', 'ROMEO', '=2C'))
  .map(([gs2, name]) => `${gs2}n=${name},r=abc`)
const last = fc.tuple(fc.constantFrom('biws', 'eSws', ''), fc.constantFrom('AAAA', 'A'.repeat(27) + '=', 'A'.repeat(43) + '='))
  .map(([binding, proof]) => `c=${binding},r=%n,p=${proof}`)
const plain = fc.tuple(fc.constantFrom('romeo', 'juliet', 'nobody', ''), fc.oneof(text, fc.constant('a guess')))
  .map(([name, guess]) => `\0${name}\0${guess === PASSWORD ? '' : guess}`)
const token = fc.constantFrom('romeo\0' + 'x'.repeat(32), 'nobody\0' + 'x'.repeat(32))
const message = fc.oneof(first, last, plain, token, fc.constantFrom('', '\0\0\0'), text)
const mechanism = fc.oneof(fc.constantFrom('PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS', 'EXTERNAL', 'HT-SHA-256-NONE', 'X'))
/** A mechanism and its first message, mostly of the same kind. */
const begin = fc.oneof(
  fc.tuple(fc.constant('PLAIN'), plain),
  fc.tuple(fc.constantFrom('SCRAM-SHA-1', 'SCRAM-SHA-256'), first),
  fc.tuple(fc.constant('HT-SHA-256-NONE'), token),
  fc.tuple(mechanism, message),
)
const more = fc.constantFrom('', "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>", "<fast xmlns='urn:xmpp:fast:0'/>", "<bind xmlns='urn:xmpp:bind:0'/>",
  "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>", "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>")

const step = fc.oneof(
  begin.map(([name, said]) => ({ said, make: (given: string) => `<auth xmlns='${SASL}' mechanism='${name}'>${given}</auth>` })),
  fc.tuple(begin, fc.array(more, { maxLength: 3 })).map(([[name, said], others]) => ({
    said, make: (given: string) => `<authenticate xmlns='${SASL2}' mechanism='${name}'><initial-response>${given}</initial-response>${others.join('')}</authenticate>`,
  })),
  fc.tuple(fc.constantFrom(SASL, SASL2), fc.oneof(last, message)).map(([space, said]) => ({ said, make: (given: string) => `<response xmlns='${space}'>${given}</response>` })),
  fc.constantFrom(SASL, SASL2).map(space => ({ said: '', make: () => `<abort xmlns='${space}'/>` })),
  fc.constantFrom("<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>", "<task-data xmlns='urn:xmpp:sasl:2'/>", `<success xmlns='${SASL}'/>`,
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", header(), '<presence/>').map(fixed => ({ said: '', make: () => fixed })),
)

/** Waits until something new has arrived, or the stream is over: passwords are checked in threads. */
async function answered (client: Client, before: number): Promise<boolean> {
  for (let turn = 0; turn < 200_000; turn++) {
    if (client.heard.length > before || client.isClosed) return true
    await new Promise(resolve => { setImmediate(resolve) })
  }
  return false
}

export const sasl: Target = {
  about: 'no order of elements logs anybody in without the password, each is answered, and none reveals a defect of the server',
  run: async (count, seed) => {
    const certificate = new X509Certificate((await selfSigned(DOMAIN, DOMAIN, Date.now())).certificate).raw
    const stage = new Stage({ authentication: { attempts: 1000 } }, certificate)
    await stage.raise()
    let addresses = 0
    await cases('', fc.array(step, { minLength: 1, maxLength: 8 }), async steps => {
      const address = `2001:db8:${(++addresses >> 16).toString(16)}:${(addresses & 0xffff).toString(16)}::1` // a network of its own, so that it is not slowed down
      const client = stage.connect({ secure: true, address })
      await client.opens()
      for (const { said, make } of steps) {
        const nonce = [...client.heard.matchAll(/<challenge[^>]*>([^<]+)</g)].map(([, data = '']) => /r=([^,]+)/.exec(Buffer.from(data, 'base64').toString())?.[1]).at(-1) ?? 'x'
        const before = client.heard.length
        if (client.isClosed) break
        await client.says(make(base64(said.replace('%n', nonce))))
        if (!await answered(client, before) && !stage.clock.timers) throw new Error('the server waits for nothing, and says nothing')
      }
      if (/<success|<resumed|<bound/.test(client.heard)) throw new Error(`somebody is logged in: ${client.heard.slice(-500)}`)
      const failed = stage.lines.find(({ level }) => level === 'error')
      if (failed !== undefined) throw new Error(`${failed.event}: ${String(failed.fields['error'])}`)
      client.transport.destroy()
      await stage.settled()
    }).run(count, seed)
    // After all that, the owner can still log in.
    const owner = stage.connect({ secure: true, address: '192.0.2.77' })
    await owner.opens()
    await owner.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
    await owner.until('<success')
    await stage.end()
  },
}
