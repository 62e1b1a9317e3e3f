/** A key as RFC 7517 has it: only what verification reads. */
export interface JsonWebKey {
  readonly kty: string;
  readonly kid?: string | undefined;
  readonly alg?: string | undefined;
  readonly use?: string | undefined;
  readonly crv?: string | undefined;
  readonly n?: string | undefined;
  readonly e?: string | undefined;
  readonly x?: string | undefined;
  readonly y?: string | undefined;
  /** Shared secrets alone. */
  readonly k?: string | undefined;
}

/** RFC 7517, section 5. */
export interface JsonWebKeySet {
  readonly keys: readonly JsonWebKey[];
}
