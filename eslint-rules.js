/** Lint rules of this project, for eslint.config.js. */

/**
 * Requires `shortened` for cutting a text to a length: other ways may leave half of a surrogate pair, which cannot be
 * written as XML.
 */
const cutText = {
  meta: {
    type: 'problem',
    docs: { description: 'cut a text to a length with shortened () of lib/base/text.ts' },
    schema: [],
    messages: {
      cut: 'A text is cut to a length by shortened () of lib/base/text.ts: this may leave half of a surrogate pair.',
      halves: 'split (\'\') makes halves of surrogate pairs: Array.from (text) takes characters.',
    },
  },
  create (context) {
    const services = context.sourceCode.parserServices
    const checker = services.program.getTypeChecker()
    return {
      CallExpression (node) {
        const { callee, arguments: given } = node
        if (callee.type !== 'MemberExpression' || callee.property.type !== 'Identifier') return
        const { name } = callee.property
        const isCut = name === 'substr' || name === 'substring' || name === 'slice' && given.some(isLength)
        const isSplit = name === 'split' && given[0]?.type === 'Literal' && given[0].value === ''
        if (!isCut && !isSplit || isDigest(callee.object)) return
        const type = checker.getApparentType(services.getTypeAtLocation(callee.object))
        const symbol = checker.typeToString(checker.getNonNullableType(type))
        if (symbol === 'String' || symbol === 'string') context.report({ node, messageId: isSplit ? 'halves' : 'cut' })
      },
    }
  },
}

/**
 * True for a length that does not depend on the text itself: `60` from a second argument on, `LONGEST`,
 * `settings.longest`, also with a sign or with something added. A number found in the text (`at`, `colon + 1`,
 * `WORD.length`) is a place between characters.
 */
function isLength (node, index) {
  switch (node.type) {
    case 'Literal': return index > 0 && typeof node.value === 'number' && node.value > 0
    case 'Identifier': return /^[A-Z][A-Z0-9_]+$/.test(node.name)
    case 'MemberExpression': return node.property.name !== 'length' && node.property.name !== 'index'
    case 'UnaryExpression': return node.operator === '-' && node.argument.type === 'Literal' && index === 0 || isLength(node.argument, -1)
    case 'BinaryExpression': return [node.left, node.right].some(side => side.type !== 'Literal' && isLength(side, index))
    case 'CallExpression': return node.callee.type === 'MemberExpression' && node.callee.object.name === 'Math' && node.arguments.some(isLength)
    default: return false
  }
}

/** True for the text of a digest, which has no surrogates. */
function isDigest (node) {
  return node.type === 'CallExpression' && node.callee.type === 'MemberExpression' && node.callee.property.name === 'digest'
}

/** Phrases that readers stumble over, each with what to write instead (CONTRIBUTING.md, "Plain English"). */
const PHRASES = [
  [/\bbehind\b(?! (?:(?:a|an|the|one|another|its|his|their|carrier) )?(?:reverse )?(?:proxy|proxies|nat|firewall|router|load balancer|address)\b)/i, 'after'],
  [/\bso (?:many|much|long) (?:bytes|milliseconds|seconds|minutes|hours|days|times|entries|stanzas|characters)\b/i, 'the unit: "in milliseconds"'],
  [/\bso many\b/i, 'the number that is meant'],
  [/\bof ours\b/i, 'whose it is'],
  [/\b(?:is|are|was|be) taken up again\b/i, 'resumed'],
  [/^\W*(?:It|They|What)\b/, 'the name of the thing, or a verb, as the first word'],
]

/** Refuses such phrases in comments, in descriptions of settings and in test titles. */
const plainWords = {
  meta: {
    type: 'suggestion',
    docs: { description: 'write comments, descriptions of settings and test titles in plain English' },
    schema: [],
    messages: { phrase: 'Plain English: not "{{ phrase }}", but {{ better }}.' },
  },
  create (context) {
    const check = (node, text) => {
      for (const [pattern, better] of PHRASES) {
        const found = pattern.exec(text)
        if (found !== null) context.report({ node, messageId: 'phrase', data: { phrase: found[0].replace(/^\W+/, ''), better } })
      }
    }
    return {
      Program () {
        // Lines of one comment made of several `//` are read together, so that none of them is taken for its beginning.
        let before
        for (const comment of context.sourceCode.getAllComments()) {
          const goesOn = before?.type === 'Line' && comment.type === 'Line' && comment.loc.start.line === before.loc.end.line + 1
          check(comment, `${goesOn ? 'goes on:' : ''}${comment.value.replace(/\n\s*\*/g, '')}`)
          before = comment
        }
      },
      CallExpression ({ callee, arguments: [first] }) {
        const name = callee.type === 'MemberExpression' ? callee.property.name : callee.name
        if (name !== 'says' && name !== 'test' || first === undefined) return
        if (first.type === 'Literal' && typeof first.value === 'string') check(first, first.value)
        if (first.type === 'TemplateLiteral') check(first, first.quasis.map(quasi => quasi.value.cooked).join('…'))
      },
    }
  },
}

export default { rules: { 'cut-text': cutText, 'plain-words': plainWords } }
