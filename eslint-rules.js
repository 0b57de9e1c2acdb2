/** Rules of this project alone, for eslint.config.js. */

/** A text is cut to a length by `shortened` alone: anything else may leave half of a surrogate pair, which cannot be written as XML. */
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
 * A length that says nothing about the text itself: `60` from a second argument on, `LONGEST`, `settings.longest`, also with a sign or with
 * something added. A number found in the text (`at`, `colon + 1`, `WORD.length`) is a place between characters.
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

/** The text of a digest has no surrogates. */
function isDigest (node) {
  return node.type === 'CallExpression' && node.callee.type === 'MemberExpression' && node.callee.property.name === 'digest'
}

export default { rules: { 'cut-text': cutText } }
