import type { EventLog, LimenEvent } from '../../core/events.ts';
import { NANO_USD, type LimitAlert, type LimitBook } from '../../core/limits.ts';
import type { Job } from './runner.ts';

const EVERY_MS = 15_000;
const AT_ONCE = 1000;

export interface LimitAlertsOptions {
  readonly limits: Pick<LimitBook, 'alerts' | 'acknowledge'>;
  readonly events: EventLog;
  readonly observer: { limitAlert(rule: string, percent: number): void };
  readonly logger: { warn(detail: object, message: string): void };
}

/** Thresholds of limits that were crossed, out of the store of limits and into events, log and metrics: each once. */
export function limitAlertsJob({ limits, events, observer, logger }: LimitAlertsOptions): Job {
  return {
    name: 'limit alerts',
    everyMs: EVERY_MS,
    run: async () => {
      const alerts = await limits.alerts(AT_ONCE);
      const recorded = await events.record(alerts.map(({ id, alert }) => asEvent(id, alert)));
      const fresh = new Set(recorded.map(({ once }) => once));
      for (const { id, alert } of alerts) {
        if (!fresh.has(nameOf(id))) continue;
        logger.warn({ ...alert }, 'budget threshold crossed');
        observer.limitAlert(alert.rule, alert.percent);
      }
      // Recorded, so a crash before this has the next one find them recorded already.
      if (alerts.length > 0) await limits.acknowledge(alerts.map(({ id }) => id));
      return recorded.length;
    },
  };
}

/** Under which an alert is recorded once. */
function nameOf(id: string): string {
  return `limit-alert/${id}`;
}

function asEvent(id: string, alert: LimitAlert): LimenEvent {
  const { rule, subject, unit, percent, used, limit, time, resetsAt } = alert;
  const amount = (value: number): string =>
    unit === 'usd' ? `${(value / NANO_USD).toFixed(2)} USD` : `${value} ${unit}`;
  return {
    time,
    kind: 'limit',
    severity: percent >= 100 ? 'critical' : 'warning',
    subject: rule,
    message: `${subject} has used ${percent} % of ${rule}: ${amount(used)} of ${amount(limit)}.`,
    detail: { rule, subject, unit, percent, used, limit, resetsAt },
    once: nameOf(id),
  };
}
