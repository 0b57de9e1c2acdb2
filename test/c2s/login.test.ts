import { play } from '../auth/stage.js'
import { bind, DOMAIN, header, PASSWORD, scene, STARTTLS } from './stage.js'

scene('a client comes from the first byte to a stanza of its own, by STARTTLS and SCRAM', {}, async (t, s) => {
  const client = s.connect()
  await client.opens()
  t.match(client.heard, /^<\?xml version='1.0'\?><stream:stream [^>]*from=["']montague.lit["']/)
  t.match(client.heard, /<stream:features><starttls xmlns=["']urn:ietf:params:xml:ns:xmpp-tls["']><required\/><\/starttls><\/stream:features>$/)
  client.forget()
  await client.says(STARTTLS)
  t.equal(client.heard.replaceAll('"', "'"), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
  client.forget()
  await client.opens()
  t.match(client.heard, /<mechanism>SCRAM-SHA-256-PLUS<\/mechanism><mechanism>SCRAM-SHA-256<\/mechanism>/)
  t.match(client.heard, /<channel-binding type=["']tls-exporter["']\/><channel-binding type=["']tls-server-end-point["']\/>/)
  const { last, verified } = await play(client.dialogue('SCRAM-SHA-256-PLUS'), {
    username: 'romeo',
    password: PASSWORD,
    hash: 'sha-256',
    header: 'p=tls-exporter,,',
    binding: Buffer.alloc(32, 'EXPORTER-Channel-Binding'),
  })
  t.equal(last.kind, 'success')
  t.ok(verified, 'the server knows the password too')
  client.forget()
  await client.opens()
  t.match(client.heard, /<bind xmlns=.*<session xmlns=.*<optional\/>/)
  t.match(client.heard, /<max-bytes>262144<\/max-bytes><idle-seconds>86400<\/idle-seconds>/)
  client.forget()
  await client.says(bind('orchard'))
  t.match(client.heard, /^<iq type=["']result["'] id=["']b["']>.*<jid>romeo@montague.lit\/orchard<\/jid>/)
  client.forget()
  await client.says(`<message to='romeo@${DOMAIN}/orchard'><body>O me!</body></message>`, header().slice(0, 0))
  t.equal(client.stream.state.at, 'established')
  await client.says('</stream:stream>')
  t.match(client.heard, /<\/stream:stream>$/)
  t.ok(client.isClosed)
})
