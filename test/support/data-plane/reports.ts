import type { FailedAttempt, Intent } from '../../../src/core/ledger.ts';
import type { AccessLogEntry } from '../../../src/ledger/access-log-entry.ts';
import type { WorkerReport } from './worker.ts';

/** Everything that workers reported since the start or the last `forget`. */
export class Reports {
  entries: AccessLogEntry[] = [];
  intents: Intent[] = [];
  attempts: FailedAttempt[] = [];
  answers: { readonly status: number; readonly code: string | undefined }[] = [];
  faults: string[] = [];
  rawAccessLog: Buffer[] = [];

  readonly take = (report: WorkerReport): void => {
    switch (report.kind) {
      case 'entry':
        this.entries.push(report.entry);
        return;
      case 'access log':
        this.rawAccessLog.push(Buffer.from(report.base64, 'base64'));
        return;
      case 'admit':
        this.intents.push(report.intent);
        return;
      case 'attempts':
        this.attempts.push(...report.attempts);
        return;
      case 'answer':
        this.answers.push({ status: report.status, code: report.code });
        return;
      case 'fault':
        this.faults.push(`${report.leg}: ${report.message}`);
    }
  };

  forget(): void {
    this.entries = [];
    this.intents = [];
    this.attempts = [];
    this.answers = [];
    this.faults = [];
    this.rawAccessLog = [];
  }
}
