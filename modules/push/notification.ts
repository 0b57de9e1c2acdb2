/** The notification (XEP-0357 §7). */
import { DataForm, field, NS, parseElement, toOctets, xml } from '../../lib/api.js'
import type { Element, FilledField } from '../../lib/api.js'
import type { Registration } from './registrations.js'

/** How much app servers learn. */
export type Content = 'nothing' | 'counts' | 'senders' | 'bodies'

/** The contents of a notification. */
export interface Summary {
  readonly messages: number
  readonly requests: number
  readonly sender: string | undefined
  readonly body: string | undefined
}

const COUNT = field.count('message-count')
const REQUESTS = field.count('pending-subscription-count')
const SENDER = field.text('last-message-sender')
const BODY = field.text('last-message-body')
const FORM = new DataForm(NS.PUSH_SUMMARY, [COUNT, REQUESTS, SENDER, BODY])

/** Builds the request that publishes a notification to the registration's node, with its publish-options. */
export function publication ({ node, options }: Pick<Registration, 'node' | 'options'>, summary: Summary, content: Content): Element {
  const form = content === 'nothing' ? undefined : FORM.submit(fieldsOf(summary, content))
  return xml('pubsub', { xmlns: NS.PUBSUB },
    xml('publish', { node }, xml('item', {}, xml('notification', { xmlns: NS.PUSH }, form))),
    options === undefined ? undefined : xml('publish-options', {}, parseElement(toOctets(options))))
}

function fieldsOf ({ messages, requests, sender, body }: Summary, content: Content): readonly FilledField[] {
  const fields = [COUNT.is(messages), REQUESTS.is(requests)]
  if (content === 'counts' || sender === undefined) return fields
  fields.push(SENDER.is(sender))
  if (content === 'bodies' && body !== undefined) fields.push(BODY.is(body))
  return fields
}
