/** The bytes are not a valid Pinhole bitstream. Decoders of this folder raise this, and nothing else, for any bytes. */
export class BitstreamError extends Error {
  constructor(message) {
    super(message);
    this.name = "BitstreamError";
  }
}
