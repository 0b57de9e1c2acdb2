/** A map with a bound: the entry that was not used for the longest time is removed first. */
export { LRUCache as Cache } from 'lru-cache'
