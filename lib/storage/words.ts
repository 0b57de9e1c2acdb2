/**
 * Splits texts into the words by which a search finds them, the same for every driver. A search matches the beginnings
 * of words.
 */
import { createHash } from 'node:crypto'
import { shortened } from '../base/text.js'

/** Runs of letters, numbers and marks. Runs in scripts without spaces between words are separate from all others. */
const RUNS = /((?:(?=[\p{L}\p{N}\p{M}])[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}])+)|((?:(?![\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}])[\p{L}\p{N}\p{M}])+)/gu
const ACCENTS = /[\u0300-\u036f]/g
const ASCII = /^[\0-\x7f]*$/
/** The limits: characters of a text, characters of one word, and words of a search. */
const LONGEST_TEXT = 20_000
const LONGEST_WORD = 40
const MOST_SOUGHT = 32
/** The hexadecimal digits of a mark. */
const MARK_LENGTH = 12

/**
 * Returns the words of a text, each once. Han, Kana and Hangul give every pair of adjacent characters, and the last
 * character alone, because no spaces mark their words.
 */
export function wordsOf (text: string): string[] {
  return [...new Set(runsOf(text).flatMap(({ run, isGapless }) => {
    if (!isGapless) return [run]
    const characters = Array.from(run)
    return characters.map((character, index) => character + (characters[index + 1] ?? ''))
  }))]
}

/** Returns the word beginnings of a search: each of them must begin a word of the text. */
export function searchPrefixes (search: string): string[] {
  return [...new Set(runsOf(search).flatMap(({ run, isGapless }) => {
    const characters = Array.from(run)
    if (!isGapless || characters.length < 2) return [run]
    return characters.slice(0, -1).map((character, index) => character + (characters[index + 1] ?? ''))
  }))].slice(0, MOST_SOUGHT)
}

/**
 * Returns the words of a text as a database indexes them, separated by spaces; '' if there are none. Each begins with a
 * mark of its store and owner, so that a search looks at the words of nobody else.
 */
export function indexedWords (store: number, owner: string, text: string): string {
  const words = wordsOf(text)
  if (words.length === 0) return ''
  const mark = markOf(store, owner)
  return mark + words.join(` ${mark}`)
}

/** Returns the beginnings of indexed words that a search looks for; empty if it matches nothing. */
export function indexedPrefixes (store: number, owner: string, search: string): readonly string[] {
  const mark = markOf(store, owner)
  return searchPrefixes(search).map(beginning => mark + beginning)
}

/** True if a text with these words matches a search for `sought`. */
export function matchesSearch (words: readonly string[], sought: readonly string[]): boolean {
  return sought.every(beginning => words.some(word => word.startsWith(beginning)))
}

function markOf (store: number, owner: string): string {
  return createHash('sha256').update(`${store} ${owner}`).digest('hex').slice(0, MARK_LENGTH)
}

function runsOf (text: string): { readonly run: string, readonly isGapless: boolean }[] {
  return [...folded(shortened(text, LONGEST_TEXT)).matchAll(RUNS)].map(([all, gapless]) => ({
    run: gapless ?? (all.length <= LONGEST_WORD ? all : Array.from(all).slice(0, LONGEST_WORD).join('')),
    isGapless: gapless !== undefined,
  }))
}

/** Removes differences that people do not type: case, accents, width. */
function folded (text: string): string {
  if (ASCII.test(text)) return text.toLowerCase()
  return text.normalize('NFKC').toLowerCase().normalize('NFD').replace(ACCENTS, '').normalize('NFC')
}
