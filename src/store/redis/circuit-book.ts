import type { CircuitBook, CircuitStatus } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';
import { ledgerKeys } from './ledger-keys.ts';
import { CIRCUIT_STATES } from './ledger-scripts.ts';

const STATES: readonly CircuitStatus['state'][] = ['closed', 'open', 'probing'];

/** The circuits in Redis, which all workers share. */
export class RedisCircuitBook implements CircuitBook {
  readonly #redis: RedisClient;
  readonly #key: string;

  /** @param domain limit domain; `default` unless said otherwise */
  constructor(redis: RedisClient, domain = 'default') {
    this.#redis = redis;
    this.#key = ledgerKeys(domain).circuits;
  }

  async circuits(): Promise<readonly CircuitStatus[]> {
    const reply = await CIRCUIT_STATES.run(this.#redis, [this.#key], []);
    const texts: readonly string[] = Array.isArray(reply) ? reply.map(String) : [];
    const found: CircuitStatus[] = [];
    for (let index = 0; index + 3 < texts.length; index += 4) {
      found.push({
        provider: texts[index] ?? '',
        state: STATES.find((state) => state === texts[index + 1]) ?? 'closed',
        failures: Number(texts[index + 2]),
        retryInSeconds: Math.ceil(Number(texts[index + 3]) / 1000),
      });
    }
    return found.sort((left, right) => (left.provider < right.provider ? -1 : 1));
  }
}
