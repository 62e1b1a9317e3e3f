import type { GatewayLogRow, Ledger } from '../core/ledger.ts';
import type { AccessLogEntry } from './access-log-entry.ts';
import { readRequestContext } from './records.ts';
import { settleFromAccessLog, type SettleDependencies } from './settle.ts';

/** Who is told what happens, for metrics. */
export interface AccessLogObserver {
  /** A request that was identified is over. */
  requestSettled(row: GatewayLogRow): void;
  /** A request is over that was refused before anyone was identified, or is none of ours. */
  requestUnidentified(status: number): void;
}

export interface AccessLogOptions extends SettleDependencies {
  readonly ledger: Ledger;
  readonly observer: AccessLogObserver;
}

/** What a worker does with each entry of Envoy's access log: rows at the end, signs of life before it. */
export function createAccessLogHandler(options: AccessLogOptions): (entry: AccessLogEntry) => void {
  const { ledger, observer } = options;
  return (entry) => {
    if (entry.kind === 'periodic') {
      const intentId = readRequestContext(entry.context)?.intentId;
      if (intentId !== undefined && intentId !== '') ledger.renew([intentId]);
      return;
    }
    const settlement = settleFromAccessLog(entry, options);
    if (settlement === undefined) {
      observer.requestUnidentified(entry.status);
      return;
    }
    ledger.settle({ ...settlement, retryAfterSeconds: entry.retryAfterSeconds ?? 0 });
    // Whose it was is what the metrics of rows are about.
    if (settlement.row.keyId === '') observer.requestUnidentified(entry.status);
    else observer.requestSettled(settlement.row);
  };
}
