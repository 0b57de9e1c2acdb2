/** A map with a bound: what was not used for longest goes first. */
export { LRUCache as Cache } from 'lru-cache'
