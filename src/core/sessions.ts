/** Where sessions of the admin API lie: small texts that end by themselves. Every method may reject where the store is away. */
export interface SessionBook {
  put(name: string, value: string, ttlMs: number): Promise<void>;
  get(name: string): Promise<string | undefined>;
  /** Writes it anew and lets it live `ttlMs` from now; no effect on one that has ended. */
  extend(name: string, value: string, ttlMs: number): Promise<void>;
  remove(name: string): Promise<void>;
}

/** What may happen once alone. Rejects where the store is away: then nobody knows, and it must not happen. */
export interface OnceBook {
  /**
   * @param ttlMs how long it is remembered
   * @returns false where this name was claimed before
   */
  claim(name: string, ttlMs: number): Promise<boolean>;
}
