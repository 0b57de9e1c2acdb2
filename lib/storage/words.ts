/** What a text is found by: its words, alike for every driver. A search asks for the beginnings of words. */
import { shortened } from '../base/text.js'

/** Letters, numbers and marks that stand together, those of the scripts that leave no gaps between words apart from the others. */
const RUNS = /((?:(?=[\p{L}\p{N}\p{M}])[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}])+)|((?:(?![\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}])[\p{L}\p{N}\p{M}])+)/gu
const ACCENTS = /[\u0300-\u036f]/g
const ASCII = /^[\0-\x7f]*$/
/** What is looked at of a text, of one word, and of what is searched for: characters, characters, words. */
const LONGEST_TEXT = 20_000
const LONGEST_WORD = 40
const MOST_SOUGHT = 32

/**
 * The words of a text, each once. Han, Kana and Hangul come as every two characters that stand side by side, so that a word is found that
 * no gap sets apart; and the last one alone.
 */
export function wordsOf (text: string): string[] {
  return [...new Set(runsOf(text).flatMap(({ run, isGapless }) => {
    if (!isGapless) return [run]
    const characters = Array.from(run)
    return characters.map((character, index) => character + (characters[index + 1] ?? ''))
  }))]
}

/** What a text must have to be found by this search: for each of these, a word that begins so. */
export function soughtIn (search: string): string[] {
  return [...new Set(runsOf(search).flatMap(({ run, isGapless }) => {
    const characters = Array.from(run)
    if (!isGapless || characters.length < 2) return [run]
    return characters.slice(0, -1).map((character, index) => character + (characters[index + 1] ?? ''))
  }))].slice(0, MOST_SOUGHT)
}

/** Whether a text with these words is found by a search for those. */
export function isFound (words: readonly string[], sought: readonly string[]): boolean {
  return sought.every(beginning => words.some(word => word.startsWith(beginning)))
}

function runsOf (text: string): { readonly run: string, readonly isGapless: boolean }[] {
  return [...folded(shortened(text, LONGEST_TEXT)).matchAll(RUNS)].map(([all, gapless]) => ({
    run: gapless ?? (all.length <= LONGEST_WORD ? all : Array.from(all).slice(0, LONGEST_WORD).join('')),
    isGapless: gapless !== undefined,
  }))
}

/** Without the differences that nobody types: case, accents, width. */
function folded (text: string): string {
  if (ASCII.test(text)) return text.toLowerCase()
  return text.normalize('NFKC').toLowerCase().normalize('NFD').replace(ACCENTS, '').normalize('NFC')
}
