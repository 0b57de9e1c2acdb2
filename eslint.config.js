/**
 * Rules that keep simple mistakes out of reviews. The constants at the top and eslint-rules.js hold the rules of this
 * project itself.
 */
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'
import stylistic from '@stylistic/eslint-plugin'
import sestina from './eslint-rules.js'

const NO_TIME_OR_CHANCE = [
  ...['console', 'setTimeout', 'setInterval'].map(name => ({ name, message: 'Only lib/base and bin: the world is handed in (Clock, Logger).' })),
]
const NO_WORLD = [
  { object: 'Date', property: 'now', message: 'Take the time from the Clock that was handed in.' },
  { object: 'Math', property: 'random', message: 'Take chance from the Ids that were handed in, or from node:crypto.' },
  { object: 'process', property: 'env', message: 'Settings come from the conf file; secrets through its { env = "…" }.' },
  { object: 'globalThis', property: 'setTimeout', message: 'Take timers from the Clock that was handed in.' },
]
const NO_NEW_DATE = {
  selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
  message: 'Take the time from the Clock that was handed in: new Date(clock.now()).',
}
const NO_GET_CHILD = {
  selector: 'CallExpression[callee.property.name=/^(getChild|getChildren|getChildText|getChildByAttr|getChildrenByAttr)$/]',
  message: 'It looks past namespaces. Use child (element, namespace, name) of lib/xml/element.ts.',
}

const NO_TESTDIR = {
  selector: 'CallExpression[callee.property.name="testdir"]',
  message: 'Use temporaryFolder of test/temporary-folder.ts, which removes the folder after the teardowns.',
}

/** The form of the code. `npm run format` mends all of it but long lines. */
const FORM = {
  '@stylistic/arrow-parens': ['error', 'as-needed'],
  '@stylistic/arrow-spacing': 'error',
  '@stylistic/block-spacing': 'error',
  '@stylistic/brace-style': ['error', '1tbs', { allowSingleLine: true }],
  '@stylistic/comma-dangle': ['error', 'always-multiline'],
  '@stylistic/comma-spacing': 'error',
  '@stylistic/comma-style': 'error',
  '@stylistic/computed-property-spacing': 'error',
  '@stylistic/dot-location': ['error', 'property'],
  '@stylistic/eol-last': 'error',
  '@stylistic/function-call-spacing': 'error',
  '@stylistic/indent': ['error', 2, { SwitchCase: 1, flatTernaryExpressions: true, offsetTernaryExpressions: true }],
  '@stylistic/key-spacing': 'error',
  '@stylistic/keyword-spacing': 'error',
  '@stylistic/max-len': ['error', { code: 120, ignoreTemplateLiterals: true, ignoreStrings: true, ignoreRegExpLiterals: true, ignoreUrls: true }],
  '@stylistic/member-delimiter-style': ['error', { multiline: { delimiter: 'none' }, singleline: { delimiter: 'comma' } }],
  '@stylistic/new-parens': 'error',
  '@stylistic/no-extra-semi': 'error',
  '@stylistic/no-floating-decimal': 'error',
  '@stylistic/no-multi-spaces': ['error', { ignoreEOLComments: true }],
  '@stylistic/no-multiple-empty-lines': ['error', { max: 1, maxBOF: 0, maxEOF: 0 }],
  '@stylistic/no-tabs': 'error',
  '@stylistic/no-trailing-spaces': 'error',
  '@stylistic/no-whitespace-before-property': 'error',
  'array-bracket-spacing': 'error',
  'object-curly-spacing': ['error', 'always'],
  '@stylistic/padded-blocks': ['error', 'never'],
  '@stylistic/quotes': ['error', 'single', { avoidEscape: true, allowTemplateLiterals: 'always' }],
  '@stylistic/rest-spread-spacing': 'error',
  '@stylistic/semi': ['error', 'never'],
  '@stylistic/semi-spacing': 'error',
  '@stylistic/space-before-blocks': 'error',
  '@stylistic/space-before-function-paren': ['error', { anonymous: 'always', named: 'always', asyncArrow: 'always', catch: 'always' }],
  '@stylistic/space-in-parens': 'error',
  '@stylistic/space-infix-ops': 'error',
  '@stylistic/space-unary-ops': 'error',
  '@stylistic/spaced-comment': 'error',
  '@stylistic/template-curly-spacing': 'error',
  '@stylistic/type-annotation-spacing': 'error',
}

export default defineConfig(
  { ignores: ['dist/', 'coverage/', '.tap/', 'node_modules/', 'docs/'] },
  {
    rules: {
      'no-constant-binary-expression': 'error', 'no-cond-assign': 'error', 'no-debugger': 'error', 'no-dupe-else-if': 'error',
      'no-duplicate-case': 'error', 'no-empty': 'error', 'no-empty-character-class': 'error', 'no-ex-assign': 'error',
      'no-fallthrough': 'error', 'no-irregular-whitespace': 'error', 'no-loss-of-precision': 'error',
      'no-prototype-builtins': 'error', 'no-self-assign': 'error', 'no-sparse-arrays': 'error', 'no-unreachable': 'error',
      'no-unsafe-finally': 'error', 'no-unsafe-optional-chaining': 'error', 'no-unused-labels': 'error', 'no-useless-catch': 'error',
      'no-useless-escape': 'error', 'no-var': 'error', 'prefer-const': 'error', 'use-isnan': 'error', 'eqeqeq': 'error',
    },
  },
  { plugins: { '@stylistic': stylistic, sestina }, rules: { ...FORM, 'sestina/plain-words': 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: true }],
      'max-lines': ['error', { max: 400 }],
      // our style differs, or tsc checks it
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/consistent-indexed-object-style': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/no-unnecessary-type-parameters': 'off', // calls give hooks and slots their types
      '@typescript-eslint/prefer-nullish-coalescing': 'off',
      '@typescript-eslint/prefer-for-of': 'off', // loops over octets need the index
      '@typescript-eslint/require-await': 'off', // a driver in memory has the interface of one on a disk
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true, allowAny: false, allowNever: true }],
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/unbound-method': ['error', { ignoreStatic: true }],
      '@typescript-eslint/dot-notation': 'off', // names of settings and attributes are quoted
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-generated-empty-object-type': 'off', // a module without settings
      '@typescript-eslint/no-unused-vars': ['error', { args: 'none', ignoreRestSiblings: true }],
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/class-literal-property-style': 'off',
    },
  },
  {
    files: ['lib/**/*.ts', 'modules/**/*.ts', 'bin/**/*.ts', 'bench/**/*.ts'],
    rules: { 'max-lines-per-function': ['error', { max: 40 }], 'complexity': ['error', 15] },
  },
  {
    // lib/xml cuts octets only at places that its scanner found
    files: ['lib/**/*.ts', 'modules/**/*.ts', 'bin/**/*.ts'],
    ignores: ['lib/xml/**', 'lib/base/text.ts'],
    rules: { 'sestina/cut-text': 'error' },
  },
  {
    files: ['lib/**/*.ts', 'modules/**/*.ts'],
    ignores: ['lib/base/**'],
    rules: { 'no-restricted-globals': ['error', ...NO_TIME_OR_CHANCE], 'no-restricted-properties': ['error', ...NO_WORLD] },
  },
  {
    files: ['lib/**/*.ts', 'modules/**/*.ts'],
    ignores: ['lib/base/**', 'lib/xml/**'],
    rules: { 'no-restricted-syntax': ['error', NO_NEW_DATE, NO_GET_CHILD] },
  },
  { files: ['lib/base/**/*.ts'], rules: { 'no-restricted-syntax': ['error', NO_GET_CHILD] } },
  { files: ['lib/xml/**/*.ts'], rules: { 'no-restricted-syntax': ['error', NO_NEW_DATE] } },
  {
    files: ['lib/**/*.ts', 'modules/**/*.ts', 'bin/**/*.ts'],
    // the name of a type gives back the value stored under it
    ignores: ['lib/xml/**', 'lib/storage/**', 'lib/base/slot.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }], // `as const` is allowed
    },
  },
  {
    files: ['test/**/*.ts'],
    ignores: ['test/temporary-folder.ts'],
    rules: { 'no-restricted-syntax': ['error', NO_TESTDIR] },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    rules: {
      'max-lines': ['error', { max: 800 }], // each file is a process of its own, so files are few and large
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off', // a test checks again what a call has changed
    },
  },
  {
    // a test of tap is not awaited: tap runs the next one when this one ends
    files: ['test/**/*.test.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', name: ['test', 'rejects', 'resolves', 'resolveMatch'], package: '@tapjs/test' }] }],
    },
  },
)
