/** A text that cannot be prepared: it has characters that its profile does not allow, or the wrong shape. */
export class PrepError extends Error {}
