/** The doors by which programs outside of this process serve hosts of it: external components (XEP-0114). */
import { service, type Named } from '../base/slot.js'
import type { Addressed } from '../xmpp/stanza.js'
import type { StreamError } from '../xmpp/errors.js'

/** A connection of a component that has proved the secret of its host. */
export interface ComponentLine {
  /** The IP address of the component. */
  readonly address: string
  /** The bytes that wait for the component to read them. */
  readonly backlog: number
  /** Sends a stanza to the component. */
  send (stanza: Addressed): void
  /** Ends the connection, after what was sent. */
  end (error: StreamError): void
}

/** The way in for the components of one host. */
export interface ComponentDoor {
  /** The secret that a component shares with the host. */
  readonly secret: string
  /**
   * Takes a connection. Returns the function to call when the connection is over. Throws StreamError if there is no
   * room.
   */
  enter (line: ComponentLine): () => void
}

/** The doors of all hosts. */
export class ComponentDoors {
  readonly #doors = new Map<string, ComponentDoor>()

  /** Adds the door of a host, and returns a function that removes it. Throws if the host has one. */
  add (domain: string, door: ComponentDoor): () => void {
    if (this.#doors.has(domain)) throw new Error(`two modules take components for ${domain}`)
    this.#doors.set(domain, door)
    return () => { this.#doors.delete(domain) }
  }

  at (domain: string): ComponentDoor | undefined { return this.#doors.get(domain) }
}

const componentDoors = service<ComponentDoors>('componentDoors')

/** Returns the doors among the values that all hosts of a server share. */
export function componentDoorsIn (shared: Named): ComponentDoors {
  return shared.made(componentDoors, () => new ComponentDoors())
}
