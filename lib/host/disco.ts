/** The answers of service discovery about an address (XEP-0030). */
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Page } from '../xmpp/paging.js'

/** The identity of an entity (XEP-0030 §3). */
export interface Identity { readonly category: string, readonly type: string, readonly name?: string }
export interface DiscoItem { readonly jid: Jid, readonly node?: string, readonly name?: string }

/** One page of a long list (XEP-0030 §7, XEP-0059). */
export interface DiscoPage { readonly items: readonly DiscoItem[], readonly page: Page }

/** The disco#info of an entity, or of a node (XEP-0030 §3). */
export interface DiscoInfo {
  /** An entity has at least one (XEP-0030 §3.1); a node may have none. */
  readonly identities: readonly Identity[]
  /** For an entity itself, those besides the features that the modules of the host declare for entities. */
  readonly features?: readonly string[]
  readonly forms?: readonly Element[]
}

/** A node of an address: its disco#info and its disco#items. */
export interface DiscoNode { readonly info: DiscoInfo, readonly items: readonly DiscoItem[] }
