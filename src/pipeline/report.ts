import type { LegReportInput } from '../ledger/leg-report.ts';
import { makeUsage, type Usage } from '../core/usage.ts';

/** Chunks between two reports, so that of a client that leaves nearly everything was counted. */
const REPORT_EVERY_CHUNKS = 16;
/** Characters of ordinary text for each token, where the provider has not told its count. */
const CHARACTERS_PER_TOKEN = 4;

/** Decides when a leg tells Envoy what it has counted: when usage is first known, now and then, at the end. */
export class ReportSchedule {
  #chunks = 0;
  #toldUsage = false;

  /** Whether the chunk that has just passed is one to report with. */
  due(usageKnown: boolean, last: boolean): boolean {
    this.#chunks += 1;
    const firstUsage = usageKnown && !this.#toldUsage;
    if (usageKnown) this.#toldUsage = true;
    return last || firstUsage || this.#chunks % REPORT_EVERY_CHUNKS === 0;
  }
}

/**
 * Usage as a report tells it: the provider's word for an answer that has ended, else what was counted so far,
 * with generated text counted by its length (an error of about a fifth for English).
 *
 * @param complete the provider itself has ended the answer
 * @param counted tokens of output, where somebody has counted them
 */
export function countedUsage(
  usage: Usage | undefined,
  complete: boolean,
  characters: number,
  counted?: number,
): Pick<LegReportInput, 'usage' | 'usageSource'> {
  if (usage !== undefined && complete) return { usage, usageSource: 'provider' };
  if (usage === undefined && characters === 0) return {};
  const output = Math.max(usage?.output ?? 0, counted ?? Math.ceil(characters / CHARACTERS_PER_TOKEN));
  return { usage: makeUsage({ ...usage, output }), usageSource: 'counted' };
}
