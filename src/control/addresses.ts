import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { isInRanges, isMetadataAddress, isPublicAddress } from '../core/addresses.ts';

/** An address that a URL leads to. */
export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface AddressPolicy {
  /** Ranges that may be asked although they are not public, over http too: `['10.0.0.0/8']`. */
  readonly allowedRanges: readonly string[];
  /** Every address of a name; the system's resolver unless told otherwise. */
  readonly resolve?: (name: string) => Promise<readonly ResolvedAddress[]>;
}

/** A URL that must not be asked. The message says why, for whoever configured it. */
export class FetchRefusedError extends Error {
  override readonly name = 'FetchRefusedError';
}

/** @throws FetchRefusedError for what is no URL of an HTTP service */
export function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new FetchRefusedError('Only http and https URLs are fetched.');
  }
  if (url.username !== '' || url.password !== '') {
    throw new FetchRefusedError('A URL with a user name or password is not fetched.');
  }
  return url;
}

/**
 * Every address of a URL's host, checked: whoever connects must go to these and resolve nothing again, so that a second
 * answer of the name server changes nothing.
 *
 * @throws FetchRefusedError where one of them must not be asked; Error where the name does not resolve
 */
export async function checkedAddresses(
  url: URL,
  { allowedRanges, resolve = systemResolver }: AddressPolicy,
): Promise<readonly ResolvedAddress[]> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(host);
  const addresses = family === 0 ? await resolve(host) : [{ address: host, family }];
  checkAddresses(url, addresses, allowedRanges);
  return addresses;
}

function systemResolver(name: string): Promise<readonly ResolvedAddress[]> {
  return lookup(name, { all: true, verbatim: true });
}

/** One forbidden address among several is enough: which of them is tried would be left to chance. */
function checkAddresses(
  url: URL,
  addresses: readonly ResolvedAddress[],
  allowedRanges: readonly string[],
): void {
  if (addresses.length === 0) throw new FetchRefusedError(`${url.hostname} has no address.`);
  // A range that is allowed as a whole is not meant to hold the place where the machine's own credentials are.
  const isAllowed = ({ address }: ResolvedAddress) =>
    isInRanges(address, allowedRanges) && !isMetadataAddress(address);
  if (!addresses.every((one) => isAllowed(one) || isPublicAddress(one.address))) {
    throw new FetchRefusedError(
      `${url.hostname} is not a public address; LIMEN_ALLOWED_FETCH_RANGES names those that may be asked all the same.`,
    );
  }
  if (url.protocol === 'http:' && !addresses.every(isAllowed)) {
    throw new FetchRefusedError(
      `${url.hostname} must be asked over https; only the ranges of LIMEN_ALLOWED_FETCH_RANGES may be asked over http.`,
    );
  }
}

export interface AddressBookOptions extends AddressPolicy {
  /** Something of `addresses` or `problems` has changed by itself. */
  readonly onChange: () => void;
  /** Time between two looks at a name. */
  readonly everyMs?: number;
  /** How long `setServices` waits for the names of new services. */
  readonly patienceMs?: number;
}

interface Service {
  readonly url: string;
  addresses: readonly string[];
  /** Why the latest look brought nothing; ends a sentence. */
  problem: string | undefined;
}

const EVERY_MS = 60_000;
const PATIENCE_MS = 1000;

/**
 * The addresses of services whose URLs somebody has pasted. Names are looked up here, and looked up again, and Envoy is
 * told of addresses alone; what was found and allowed last stays while a name does not resolve, or leads where nobody
 * may ask.
 */
export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #timer: NodeJS.Timeout;
  #services = new Map<string, Service>();
  #closed = false;

  constructor(options: AddressBookOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.refresh(), options.everyMs ?? EVERY_MS);
    this.#timer.unref();
  }

  /**
   * Says which services there are. Resolves when the new ones have been looked up, or after a moment: what comes later
   * is told of by `onChange`. Never rejects.
   *
   * @param urls by name of the service
   */
  async setServices(urls: Readonly<Record<string, string>>): Promise<void> {
    const before = this.#services;
    this.#services = new Map(
      Object.entries(urls).map(([name, url]) => {
        const known = before.get(name);
        return [name, known?.url === url ? known : { url, addresses: [], problem: undefined }];
      }),
    );
    const added = [...this.#services.values()].filter((service) => ![...before.values()].includes(service));
    if (added.length === 0) return;
    const patience = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => patience.resolve('late'), this.#options.patienceMs ?? PATIENCE_MS);
    const looks = Promise.all(added.map((service) => this.#look(service)));
    const outcome = await Promise.race([looks, patience.promise]);
    clearTimeout(timer);
    if (outcome === 'late') void looks.then(() => this.#changed());
  }

  /** Looks every name up again. */
  async refresh(): Promise<void> {
    const changes = await Promise.all([...this.#services.values()].map((service) => this.#look(service)));
    if (changes.includes(true)) this.#changed();
  }

  /** By service, those that have any. */
  get addresses(): Readonly<Record<string, readonly string[]>> {
    return Object.fromEntries(
      [...this.#services].flatMap(([name, { addresses }]) =>
        addresses.length === 0 ? [] : [[name, addresses]],
      ),
    );
  }

  /** Why a service could not be looked up the last time, by service. */
  get problems(): ReadonlyMap<string, string> {
    return new Map(
      [...this.#services].flatMap(([name, { problem }]) => (problem === undefined ? [] : [[name, problem]])),
    );
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  #changed(): void {
    if (!this.#closed) this.#options.onChange();
  }

  /** @returns whether anything is different from before */
  async #look(service: Service): Promise<boolean> {
    const { addresses, problem } = service;
    try {
      const found = await checkedAddresses(checkedUrl(service.url), this.#options);
      service.problem = undefined;
      // Name servers give the same addresses in another order each time.
      const now = [...new Set(found.map(({ address }) => address))].sort(compareText);
      if (now.join() !== addresses.join()) service.addresses = now;
    } catch (error) {
      service.problem = error instanceof FetchRefusedError ? error.message : 'Its name does not resolve.';
    }
    return service.addresses !== addresses || service.problem !== problem;
  }
}

function compareText(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
