import type { ChargedAttempt, LedgerSettlement } from '../core/ledger.ts';
import type { HttpAccessLogEntry } from '../envoy-protocol/access-log-messages.ts';
import type { ProcessorProtocol } from '../envoy-protocol/codecs.ts';
import type { OutputEstimator } from '../ledger/estimator.ts';
import { inTurns } from '../ledger/in-turns.ts';
import type { Witnessed } from '../ledger/recovery.ts';
import { settleFromAccessLog } from '../ledger/settle.ts';
import { namesIn } from '../ledger/witness-names.ts';
import { readAccessLogEntry } from './access-log.ts';
import { TryLog } from './try-log.ts';

export interface WitnessedOptions {
  readonly protocol: ProcessorProtocol;
  readonly estimator: OutputEstimator;
  /** Of what cannot be read: it is left out. */
  readonly onUnreadable: (error: unknown) => void;
}

/**
 * What messages of the access log tell of requests, as a worker would settle it. The messages are in the order in which
 * they came, and those with tries of the requests are among them. There may be so many that it takes a second: others
 * have their turns meanwhile.
 */
export async function readWitnessed(
  messages: readonly Buffer[],
  intentIds: ReadonlySet<string>,
  { protocol, estimator, onUnreadable }: WitnessedOptions,
): Promise<Witnessed> {
  // Nothing is forgotten here: its clock stands still.
  const tries = new TryLog(() => 0);
  const attempts: ChargedAttempt[] = [];
  const settlements = new Map<string, LedgerSettlement>();

  function readEntry(logged: HttpAccessLogEntry): void {
    attempts.push(...tries.read(logged));
    const entry = readAccessLogEntry(logged, protocol);
    if (entry?.kind !== 'end' || !namesIn(Buffer.from(entry.context ?? '')).some((id) => intentIds.has(id)))
      return;
    const settlement = settleFromAccessLog(entry, { estimator });
    if (settlement === undefined || !intentIds.has(settlement.intentId)) return;
    settlements.set(settlement.intentId, { ...settlement, retryAfterSeconds: entry.retryAfterSeconds ?? 0 });
  }

  for await (const message of inTurns(messages)) {
    try {
      for (const logged of protocol.streamAccessLogsMessage.decode(message).httpLogs?.logEntry ?? []) {
        readEntry(logged);
      }
    } catch (error) {
      onUnreadable(error);
    }
  }
  return {
    settlements: [...settlements.values()],
    attempts: attempts.filter(({ intentId }) => intentIds.has(intentId)),
  };
}
