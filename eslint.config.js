/** What review should not have to look for. The first five blocks of rules are our own (docs/architecture.md, "Style"). */
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'
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
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: true }],
      'max-lines': ['error', { max: 400 }],
      'max-len': ['error', { code: 140, ignoreTemplateLiterals: true, ignoreStrings: true, ignoreRegExpLiterals: true }],
      'semi': ['error', 'never'],
      // our style is another one, or tsc sees to it
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/consistent-indexed-object-style': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/no-unnecessary-type-parameters': 'off', // hooks and slots are typed by what they are called with
      '@typescript-eslint/prefer-nullish-coalescing': 'off',
      '@typescript-eslint/prefer-for-of': 'off', // loops over octets count
      '@typescript-eslint/require-await': 'off', // a driver in memory keeps the promise of one on a disk
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
    // lib/xml cuts octets at places that its scanner has found
    files: ['lib/**/*.ts', 'modules/**/*.ts', 'bin/**/*.ts'],
    ignores: ['lib/xml/**', 'lib/base/text.ts'],
    plugins: { sestina },
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
    ignores: ['lib/xml/**', 'lib/storage/**', 'lib/base/slot.ts'], // a name of a type gives back what was put under it
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }], // `as const` is none
    },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    rules: {
      'max-lines': ['error', { max: 800 }], // each file is a process of its own: few and big
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
      '@typescript-eslint/no-unnecessary-condition': 'off', // a test looks again at what a call has changed
    },
  },
  {
    // a test of tap is not awaited: tap runs the next when this one has ended
    files: ['test/**/*.test.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', name: ['test', 'rejects', 'resolves', 'resolveMatch'], package: '@tapjs/test' }] }],
    },
  },
)
