/** Thrown if a text cannot be prepared: it has characters that its profile does not allow, or the wrong form. */
export class PrepError extends Error {}
