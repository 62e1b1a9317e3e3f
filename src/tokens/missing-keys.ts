import type { Directory, IdentityReports } from '../core/access.ts';

export interface MissingKeysOptions {
  readonly directory: Pick<Directory, 'issuerKeys'>;
  readonly reports: Pick<IdentityReports, 'keyMissing'>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** How long a request waits for keys that its token needs. */
export const KEY_WAIT_MS = 2000;
/** How often the issuer's keys are asked for at most, whatever tokens name. */
export const ASK_INTERVAL_MS = 30_000;
/** For so long nobody asks for a key again that was not to be had. */
const UNKNOWN_KID_MS = 60_000;
const MOST_UNKNOWN_KIDS = 1000;
const MOST_WAITING = 256;
const LOOK_MS = 20;

interface Asked {
  readonly at: number;
  /** Until the keys have come, or too late. */
  readonly answer: Promise<void>;
  isOpen: boolean;
}

/**
 * Keys that tokens name and nobody has yet, as after a rotation. Anybody can make up names of keys, so the asking is
 * bounded: for each issuer once in a while, and all who need keys of it then wait for the same answer.
 */
export class MissingKeys {
  readonly #options: MissingKeysOptions;
  /** By provider. */
  readonly #asked = new Map<string, Asked>();
  /** Provider and kid → until when it is not asked for, in the order of asking. */
  readonly #unknown = new Map<string, number>();
  #waiting = 0;

  constructor(options: MissingKeysOptions) {
    this.#options = options;
  }

  /**
   * Asks for the keys of an issuer, or joins those who have. Resolves when there is something new to look at, or not;
   * undefined where it is of no use to wait.
   */
  wait(provider: string, kid: string): Promise<void> | undefined {
    const { reports, now } = this.#options;
    const asked = this.#asked.get(provider);
    if (this.#waiting >= MOST_WAITING || this.#isUnknown(provider, kid)) return undefined;
    if (asked?.isOpen === true) return this.#counted(asked.answer);
    if (asked !== undefined && now() - asked.at < ASK_INTERVAL_MS) return undefined;
    const opened: Asked = { at: now(), answer: this.#answer(provider), isOpen: true };
    this.#asked.set(provider, opened);
    void opened.answer.then(() => (opened.isOpen = false));
    reports.keyMissing(provider, kid);
    return this.#counted(opened.answer);
  }

  /** The key did not come. */
  giveUp(provider: string, kid: string): void {
    const name = nameOf(provider, kid);
    this.#unknown.delete(name);
    this.#unknown.set(name, this.#options.now() + UNKNOWN_KID_MS);
    const [oldest] = this.#unknown.keys();
    if (this.#unknown.size > MOST_UNKNOWN_KIDS && oldest !== undefined) this.#unknown.delete(oldest);
  }

  #isUnknown(provider: string, kid: string): boolean {
    const until = this.#unknown.get(nameOf(provider, kid));
    return until !== undefined && until > this.#options.now();
  }

  async #counted(answer: Promise<void>): Promise<void> {
    this.#waiting += 1;
    try {
      await answer;
    } finally {
      this.#waiting -= 1;
    }
  }

  #answer(provider: string): Promise<void> {
    const { directory } = this.#options;
    const before = directory.issuerKeys(provider);
    const { promise, resolve } = Promise.withResolvers<void>();
    let looks = 0;
    const timer = setInterval(() => {
      looks += 1;
      if (directory.issuerKeys(provider) === before && looks * LOOK_MS < KEY_WAIT_MS) return;
      clearInterval(timer);
      resolve();
    }, LOOK_MS);
    return promise;
  }
}

function nameOf(provider: string, kid: string): string {
  return `${provider} ${kid}`;
}
