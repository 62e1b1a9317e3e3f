import { verdictOfAttempt, verdictOfRow, type CircuitVerdict } from '../../core/circuit.ts';
import type { ChargedAttempt, LedgerSettlement } from '../../core/ledger.ts';
import type { RedisClient } from './connection.ts';
import type { LedgerKeys } from './ledger-keys.ts';
import { SETTLE } from './ledger-scripts.ts';
import { encodeCharges } from './limit-codec.ts';

/** When circuits open; `failures` 0: never. */
export interface CircuitSettings {
  readonly failures: number;
  readonly openSeconds: number;
}

/** A row or a failed try on its way, as the script SETTLE takes it. */
export interface OutboxItem {
  /**
   * `recovered`: a row that counts only where its intent is still open. `withdrawn`: an intent that nobody has
   * waited for, which is to go without a row.
   */
  readonly kind: 'row' | 'attempt' | 'recovered' | 'withdrawn';
  readonly json: string;
  /** Empty: it closes none. */
  readonly intentId: string;
  /** What the circuit learns (see createLedgerScripts); empty: nothing. */
  readonly lesson: string;
  /** What the rules are charged (limit-codec.ts); empty: nothing. */
  readonly charges: string;
  /** Whatever comes a second time under this name is left out; empty: it may come again. */
  readonly once: string;
}

export interface SettleOptions {
  readonly keys: LedgerKeys;
  /** Key of the settler's last batch, and the number of this one, from 1 up: the same or a lower one again does nothing. */
  readonly batch: { readonly key: string; readonly number: number };
  readonly circuits: CircuitSettings;
  readonly maxWaitingRows: number;
  readonly leaseMs: number;
}

/** What became of a batch. */
export interface Settled {
  /** Why items or charges failed, in words. */
  readonly problems: readonly string[];
  /** Items that had been settled before. */
  readonly left: number;
}

export function rowItem(settlement: LedgerSettlement, kind: 'row' | 'recovered' = 'row'): OutboxItem {
  const { row, intentId, retryAfterSeconds, holds, amounts } = settlement;
  const { requestId, attempts, provider } = row;
  const lesson = lessonOf(verdictOfRow(row, retryAfterSeconds), requestId, attempts, provider);
  const charges = encodeCharges(holds, amounts, provider);
  return { kind, json: JSON.stringify(row), intentId, lesson, charges, once: '' };
}

/**
 * One that is charged to nobody may come twice: the database sees it once. The others are known by when they began:
 * who was not told of all tries of a request counts them otherwise.
 */
export function attemptItem({ intentId, holds, amounts, ...attempt }: ChargedAttempt): OutboxItem {
  const { requestId, ordinal, time, provider } = attempt;
  const lesson = lessonOf(verdictOfAttempt(attempt), requestId, ordinal, provider);
  const charges = encodeCharges(holds, amounts, provider);
  const once = charges === '' ? '' : `${requestId}/${time}`;
  return { kind: 'attempt', json: JSON.stringify(attempt), intentId, lesson, charges, once };
}

/** Takes an admission back. */
export function withdrawnItem(intentId: string): OutboxItem {
  return { kind: 'withdrawn', json: '', intentId, lesson: '', charges: '', once: '' };
}

/** One call of SETTLE. Rejects where the store is away, or has no room for the rows. */
export async function settleItems(
  redis: RedisClient,
  items: readonly OutboxItem[],
  { keys, batch, circuits, maxWaitingRows, leaseMs }: SettleOptions,
): Promise<Settled> {
  const { failures, openSeconds } = circuits;
  const args = items.flatMap(({ kind, json, intentId, lesson, charges, once }) => [
    kind,
    json,
    intentId,
    failures > 0 ? lesson : '',
    charges,
    once,
  ]);
  const limits = [maxWaitingRows, failures, Math.round(openSeconds * 1000), batch.number, leaseMs];
  const reply = await SETTLE.run(
    redis,
    [
      keys.rows,
      keys.intents,
      keys.leases,
      keys.circuits,
      keys.reservations,
      keys.counters,
      keys.alerts,
      batch.key,
      keys.settledOnce,
    ],
    [...limits, ...args],
  );
  if (!Array.isArray(reply)) throw new Error('the rows stream is full');
  const [problems, left]: readonly unknown[] = reply;
  return { problems: Array.isArray(problems) ? problems.map(String) : [], left: Number(left) };
}

/** As the script takes it: `VERDICT PAUSE REQUEST ORDINAL PROVIDER`, the pause in ms. */
function lessonOf(
  verdict: CircuitVerdict | undefined,
  requestId: string,
  ordinal: number,
  provider: string,
): string {
  const kind = verdict === undefined ? 'none' : verdict.kind === 'success' ? 'success' : 'failure';
  const pauseMs = verdict?.kind === 'pause' ? verdict.seconds * 1000 : 0;
  return `${kind} ${pauseMs} ${requestId} ${ordinal} ${provider}`;
}
