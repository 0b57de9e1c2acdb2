/** The form of a commit message: `area: what`, at most 72 columns, and a body that says why (CONTRIBUTING.md). */
export default {
  parserPreset: {
    parserOpts: {
      // host: …, storage, mam: …, test(interop): …
      headerPattern: /^([a-z0-9-]+(?:\([a-z0-9, -]+\))?(?:, [a-z0-9-]+(?:\([a-z0-9, -]+\))?)*): (.+)$/,
      headerCorrespondence: ['type', 'subject'],
    },
  },
  rules: {
    'type-empty': [2, 'never'],
    'subject-empty': [2, 'never'],
    'subject-full-stop': [2, 'never', '.'],
    'header-max-length': [2, 'always', 72],
    'body-empty': [2, 'never'],
    'body-leading-blank': [2, 'always'],
  },
}
