/** The XML namespaces by name, each once (RFC 6120, RFC 6121, and the XEPs at the end of each line). */
export const NS = {
  // XML itself
  XML: 'http://www.w3.org/XML/1998/namespace',
  XMLNS: 'http://www.w3.org/2000/xmlns/',

  // RFC 6120, RFC 6121, RFC 7395
  CLIENT: 'jabber:client',
  SERVER: 'jabber:server',
  STREAM: 'http://etherx.jabber.org/streams',
  STREAMS: 'urn:ietf:params:xml:ns:xmpp-streams',
  STANZAS: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  TLS: 'urn:ietf:params:xml:ns:xmpp-tls',
  SASL: 'urn:ietf:params:xml:ns:xmpp-sasl',
  BIND: 'urn:ietf:params:xml:ns:xmpp-bind',
  SESSION: 'urn:ietf:params:xml:ns:xmpp-session', // RFC 3921
  ROSTER: 'jabber:iq:roster',
  ROSTER_VERSION: 'urn:xmpp:features:rosterver', // RFC 6121 §2.6, XEP-0237
  PRE_APPROVAL: 'urn:xmpp:features:pre-approval', // RFC 6121 §3.4
  FRAMING: 'urn:ietf:params:xml:ns:xmpp-framing', // RFC 7395
  HTTP_BIND: 'http://jabber.org/protocol/httpbind', // XEP-0124
  XBOSH: 'urn:xmpp:xbosh', // XEP-0206

  // Other kinds of streams
  COMPONENT: 'jabber:component:accept', // XEP-0114
  DIALBACK: 'jabber:server:dialback', // XEP-0220
  DIALBACK_FEATURE: 'urn:xmpp:features:dialback',
  BIDI: 'urn:xmpp:bidi', // XEP-0288
  BIDI_FEATURE: 'urn:xmpp:features:bidi',

  // Authentication and binding
  SASL2: 'urn:xmpp:sasl:2', // XEP-0388
  BIND2: 'urn:xmpp:bind:0', // XEP-0386
  SASL_CHANNEL_BINDING: 'urn:xmpp:sasl-cb:0', // XEP-0440
  FAST: 'urn:xmpp:fast:0', // XEP-0484
  SASL_UPGRADE: 'urn:xmpp:sasl:upgrade:0', // XEP-0480
  SCRAM_UPGRADE: 'urn:xmpp:scram-upgrade:0', // XEP-0480
  IAP: 'urn:xmpp:iap:0', // XEP-0509
  CAM: 'urn:xmpp:cam:0', // XEP-0494
  LEGACY_AUTH: 'jabber:iq:auth', // XEP-0078
  LEGACY_AUTH_FEATURE: 'http://jabber.org/features/iq-auth',
  REGISTER: 'jabber:iq:register', // XEP-0077
  GATEWAY: 'jabber:iq:gateway', // XEP-0100
  REGISTER_FEATURE: 'http://jabber.org/features/iq-register',
  INVITE_PREAUTH: 'urn:xmpp:pars:0', // XEP-0379
  INVITE_BIND: 'urn:xmpp:invite', // XEP-0401
  IBR_TOKEN: 'urn:xmpp:ibr-token:0',

  // Stream management and client state
  SM: 'urn:xmpp:sm:3', // XEP-0198
  CSI: 'urn:xmpp:csi:0', // XEP-0352
  STREAM_LIMITS: 'urn:xmpp:stream-limits:0', // XEP-0478

  // Discovery
  DISCO_INFO: 'http://jabber.org/protocol/disco#info', // XEP-0030
  DISCO_ITEMS: 'http://jabber.org/protocol/disco#items',
  DISCO: 'http://jabber.org/protocol/disco',
  CAPS: 'http://jabber.org/protocol/caps', // XEP-0115
  CAPS_OPTIMIZE: 'http://jabber.org/protocol/caps#optimize',
  ENTITY_CAPS: 'urn:xmpp:caps', // XEP-0390
  SERVER_INFO: 'http://jabber.org/network/serverinfo', // XEP-0157, the FORM_TYPE

  // Elements that many XEPs use
  DATA: 'jabber:x:data', // XEP-0004
  DATA_VALIDATE: 'http://jabber.org/protocol/xdata-validate', // XEP-0122
  DATA_MEDIA: 'urn:xmpp:media-element', // XEP-0221
  RSM: 'http://jabber.org/protocol/rsm', // XEP-0059
  COMMANDS: 'http://jabber.org/protocol/commands', // XEP-0050
  ADMIN: 'http://jabber.org/protocol/admin', // XEP-0133, the FORM_TYPE
  OOB: 'jabber:x:oob', // XEP-0066
  ADDRESS: 'http://jabber.org/protocol/address', // XEP-0033
  HTTP_AUTH: 'http://jabber.org/protocol/http-auth', // XEP-0070
  SHIM: 'http://jabber.org/protocol/shim', // XEP-0131

  // Small services
  PRIVATE: 'jabber:iq:private', // XEP-0049
  STORAGE_BOOKMARKS: 'storage:bookmarks', // XEP-0048
  STORAGE_ROSTERNOTES: 'storage:rosternotes', // XEP-0145
  VCARD: 'vcard-temp', // XEP-0054
  VCARD_UPDATE: 'vcard-temp:x:update', // XEP-0153
  VCARD4: 'urn:ietf:params:xml:ns:vcard-4.0', // XEP-0292
  VCARD4_NODE: 'urn:xmpp:vcard4',
  LAST: 'jabber:iq:last', // XEP-0012, XEP-0256
  VERSION: 'jabber:iq:version', // XEP-0092
  TIME: 'urn:xmpp:time', // XEP-0202
  PING: 'urn:xmpp:ping', // XEP-0199
  OFFLINE: 'http://jabber.org/protocol/offline', // XEP-0013
  MSG_OFFLINE: 'msgoffline', // XEP-0160, a disco feature

  // Presence and rosters
  ROSTER_EXCHANGE: 'http://jabber.org/protocol/rosterx', // XEP-0144
  BLOCKING: 'urn:xmpp:blocking', // XEP-0191
  BLOCKING_ERRORS: 'urn:xmpp:blocking:errors',
  REPORTING: 'urn:xmpp:reporting:1', // XEP-0377
  IDLE: 'urn:xmpp:idle:1', // XEP-0319
  NICK: 'http://jabber.org/protocol/nick', // XEP-0172

  PRIVACY: 'jabber:iq:privacy', // XEP-0016, as XEP-0227 writes block lists

  // Import and export of accounts
  PIE: 'urn:xmpp:pie:0', // XEP-0227
  PIE_SCRAM: 'urn:xmpp:pie:0#scram',
  PIE_MAM: 'urn:xmpp:pie:0#mam',
  XINCLUDE: 'http://www.w3.org/2001/XInclude',
  ACCOUNT: 'urn:sestina:account:0', // for what XEP-0227 does not define

  // Messages
  DELAY: 'urn:xmpp:delay', // XEP-0203
  DELAY_LEGACY: 'jabber:x:delay', // XEP-0091
  FORWARD: 'urn:xmpp:forward:0', // XEP-0297
  CARBONS: 'urn:xmpp:carbons:2', // XEP-0280
  CARBONS_RULES: 'urn:xmpp:carbons:rules:0',
  HINTS: 'urn:xmpp:hints', // XEP-0334
  RECEIPTS: 'urn:xmpp:receipts', // XEP-0184
  CHAT_STATES: 'http://jabber.org/protocol/chatstates', // XEP-0085
  CHAT_MARKERS: 'urn:xmpp:chat-markers:0', // XEP-0333
  STANZA_ID: 'urn:xmpp:sid:0', // XEP-0359
  CORRECT: 'urn:xmpp:message-correct:0', // XEP-0308
  RETRACT: 'urn:xmpp:message-retract:1', // XEP-0424
  RETRACT_TOMBSTONE: 'urn:xmpp:message-retract:1#tombstone',
  RETRACT_OLD: 'urn:xmpp:message-retract:0', // XEP-0424 v0.3
  MODERATE: 'urn:xmpp:message-moderate:1', // XEP-0425
  MODERATE_OLD: 'urn:xmpp:message-moderate:0', // XEP-0425 v0.2
  REACTIONS: 'urn:xmpp:reactions:0', // XEP-0444
  REPLY: 'urn:xmpp:reply:0', // XEP-0461
  FALLBACK: 'urn:xmpp:fallback:0', // XEP-0428
  FASTEN: 'urn:xmpp:fasten:0', // XEP-0422
  REFERENCE: 'urn:xmpp:reference:0', // XEP-0372
  MENTIONS: 'urn:xmpp:mentions:0', // XEP-0513
  MENTIONS_FORWARDED: 'urn:xmpp:mmn:0', // XEP-0452
  ENCRYPTION: 'urn:xmpp:eme:0', // XEP-0380
  OMEMO: 'urn:xmpp:omemo:2', // XEP-0384
  OPENPGP: 'urn:xmpp:openpgp:0', // XEP-0373
  OMEMO_LEGACY: 'eu.siacs.conversations.axolotl',
  ATTENTION: 'urn:xmpp:attention:0', // XEP-0224
  XHTML_IM: 'http://jabber.org/protocol/xhtml-im', // XEP-0071
  JINGLE: 'urn:xmpp:jingle:1', // XEP-0166
  JINGLE_MESSAGE: 'urn:xmpp:jingle-message:0', // XEP-0353
  INVITATION: 'jabber:x:conference', // XEP-0249

  // Archives
  MAM: 'urn:xmpp:mam:2', // XEP-0313
  MAM_EXTENDED: 'urn:xmpp:mam:2#extended',
  FULLTEXT: 'urn:xmpp:fulltext:0', // XEP-0431
  MAM_GROUPCHAT: 'urn:xmpp:mam:2#groupchat-field',
  INBOX: 'urn:xmpp:inbox:1', // XEP-0430
  DISPLAYED: 'urn:xmpp:mds:displayed:0', // XEP-0490
  DISPLAYED_ASSIST: 'urn:xmpp:mds:server-assist:0',

  // Push, upload
  PUSH: 'urn:xmpp:push:0', // XEP-0357
  PUSH_SUMMARY: 'urn:xmpp:push:summary', // the FORM_TYPE
  UPLOAD: 'urn:xmpp:http:upload:0', // XEP-0363
  UPLOAD_LEGACY: 'urn:xmpp:http:upload', // before version 0.3
  UPLOAD_PURPOSE: 'urn:xmpp:http:upload:purpose:0',
  EXTERNAL_SERVICES: 'urn:xmpp:extdisco:2', // XEP-0215

  // Publish-subscribe
  PUBSUB: 'http://jabber.org/protocol/pubsub', // XEP-0060, XEP-0163
  PUBSUB_EVENT: 'http://jabber.org/protocol/pubsub#event',
  PUBSUB_OWNER: 'http://jabber.org/protocol/pubsub#owner',
  PUBSUB_ERRORS: 'http://jabber.org/protocol/pubsub#errors',
  PUBSUB_NODE_CONFIG: 'http://jabber.org/protocol/pubsub#node_config',
  PUBSUB_PUBLISH_OPTIONS: 'http://jabber.org/protocol/pubsub#publish-options',
  PUBSUB_SUBSCRIBE_OPTIONS: 'http://jabber.org/protocol/pubsub#subscribe_options',
  PUBSUB_SUBSCRIBE_AUTHORIZATION: 'http://jabber.org/protocol/pubsub#subscribe_authorization',
  PUBSUB_META_DATA: 'http://jabber.org/protocol/pubsub#meta-data',
  PUBSUB_RSM: 'http://jabber.org/protocol/pubsub#rsm',
  PUBSUB_CACHING: 'urn:xmpp:pubsub-caching:0', // XEP-0460
  PUBSUB_FILTER: 'urn:xmpp:pubsub-filter:0', // XEP-0462
  ATTACHMENTS: 'urn:xmpp:pubsub-attachments:1', // XEP-0470
  ATTACHMENTS_SUMMARY: 'urn:xmpp:pubsub-attachments:summary:1',
  PUBLIC_SUBSCRIPTIONS: 'urn:xmpp:pps:0', // XEP-0465
  PAM: 'urn:xmpp:pam:0', // XEP-0376
  SERVER_INFORMATION: 'urn:xmpp:serverinfo:0', // XEP-0485
  BOOKMARKS: 'urn:xmpp:bookmarks:1', // XEP-0402
  NOTIFICATION_SETTINGS: 'urn:xmpp:notification-settings:1', // XEP-0492
  BOOKMARKS_COMPAT: 'urn:xmpp:bookmarks:1#compat',
  BOOKMARKS_COMPAT_PEP: 'urn:xmpp:bookmarks:1#compat-pep',
  BOOKMARKS_CONVERSION: 'urn:xmpp:bookmarks-conversion:0', // XEP-0411
  PEP_VCARD_CONVERSION: 'urn:xmpp:pep-vcard-conversion:0', // XEP-0398
  AVATAR_DATA: 'urn:xmpp:avatar:data', // XEP-0084
  AVATAR_METADATA: 'urn:xmpp:avatar:metadata',

  // Rooms
  MUC: 'http://jabber.org/protocol/muc', // XEP-0045
  MUC_USER: 'http://jabber.org/protocol/muc#user',
  MUC_ADMIN: 'http://jabber.org/protocol/muc#admin',
  MUC_OWNER: 'http://jabber.org/protocol/muc#owner',
  MUC_REQUEST: 'http://jabber.org/protocol/muc#request',
  MUC_ROOM_CONFIG: 'http://jabber.org/protocol/muc#roomconfig',
  MUC_ROOM_INFO: 'http://jabber.org/protocol/muc#roominfo',
  MUC_REGISTER: 'http://jabber.org/protocol/muc#register',
  MUC_AFFILIATIONS: 'urn:xmpp:muc:affiliations:1', // XEP-0463
  MUC_TOKENS: 'urn:xmpp:muc-token-invite:0', // XEP-0488
  MUC_STABLE_ID: 'http://jabber.org/protocol/muc#stable_id',
  MUC_SELF_PING: 'http://jabber.org/protocol/muc#self-ping-optimization', // XEP-0410
  OCCUPANT_ID: 'urn:xmpp:occupant-id:0', // XEP-0421
  HATS: 'urn:xmpp:hats:0', // XEP-0317
} as const

/**
 * The namespaces of stanzas, one for each kind of stream (for components XEP-0114 §2). RFC 6120 §4.8.3: a stream has
 * one of them; which one does not change the meaning of a stanza.
 */
const CONTENT_NAMESPACES: ReadonlySet<string> = new Set([
  NS.CLIENT, NS.SERVER, NS.COMPONENT, 'jabber:component:connect',
])

const FIRST = 'j'.charCodeAt(0)

/** True for the namespace of the stanzas of some kind of stream. */
export function isContentNamespace (namespace: string): boolean {
  // The first character spares most namespaces the look-up.
  return namespace.charCodeAt(0) === FIRST && CONTENT_NAMESPACES.has(namespace)
}
