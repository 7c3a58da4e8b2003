/**
 * What went wrong, as a kind that `view/errors.js` has a plain sentence for.
 *
 * detail: what fills the sentence's gap, or the server's own sentence. Never a token.
 */
export class Failure extends Error {
  /** @param {string} kind @param {string} [detail] */
  constructor(kind, detail = "") {
    super(detail ? `${kind}: ${detail}` : kind);
    this.name = "Failure";
    this.kind = kind;
    this.detail = detail;
  }
}

/** @param {unknown} error @param {string} otherwise kind of what is no Failure @returns {Failure} */
export function asFailure(error, otherwise) {
  return error instanceof Failure ? error : new Failure(otherwise, error instanceof Error ? error.name : String(error));
}
