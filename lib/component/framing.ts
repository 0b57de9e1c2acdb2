/** The framing of a component's stream (XEP-0114 §3): that of RFC 6120 without version and features. */
import { XML_STREAM, type Framing } from '../stream/framing.js'
import { readUnversionedHeader } from '../stream/header.js'
import { NS } from '../xml/namespaces.js'
import { startTag } from '../xml/writer.js'

export const COMPONENT_STREAM: Framing = {
  ...XML_STREAM,
  hasStartTls: false,
  readHeader: readUnversionedHeader,
  // A version would make the component wait for features.
  header: ({ namespace, id, from }) => "<?xml version='1.0'?>" + startTag('stream:stream', {
    'xmlns': namespace, 'xmlns:stream': NS.STREAM, id, from,
  }),
}
