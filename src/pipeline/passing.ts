import type { RequestContext } from '../core/ledger.ts';
import { FORMATS } from '../formats/index.ts';
import type { FormatName } from '../formats/hub.ts';
import { createUsageReader } from '../formats/usage-reader.ts';
import type { LegReportInput } from '../ledger/leg-report.ts';
import { countedUsage } from './report.ts';

/** Largest event, and largest answer in one piece, that is read for its usage. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** An answer that keeps its format while it passes a worker. */
export interface PassingAnswer {
  /** The bytes for the client. Throws where the upstream's stream is beyond all bounds. */
  push(chunk: Buffer): Buffer;
  end(): Buffer;
  report(): LegReportInput;
}

/**
 * What the response leg does with an answer: hide the usage chunk that Limen asked for, or only read the usage
 * where Envoy cannot.
 */
export function createPassingAnswer(
  context: RequestContext,
  status: number,
  contentType: string,
): PassingAnswer {
  const format = FORMATS[isFormat(context.format) ? context.format : 'chat'];
  const isStream = contentType.toLowerCase().includes('text/event-stream');
  if (status === 200 && isStream && !context.exposeUsage && format.createUsageStrip !== undefined) {
    const strip = format.createUsageStrip(MAX_HELD_BYTES);
    return {
      push: (chunk) => strip.push(chunk),
      end: () => strip.end(),
      report: () => ({
        ...countedUsage(strip.usage, strip.outcome === 'complete', 0),
        ...(strip.outcome === 'error' ? { errorCode: 'upstream_error' } : {}),
      }),
    };
  }
  const reader = createUsageReader(format, isStream, MAX_HELD_BYTES);
  let ended = false;
  return {
    push: (chunk) => {
      reader.push(chunk);
      return chunk;
    },
    end: () => {
      reader.end();
      ended = true;
      return Buffer.alloc(0);
    },
    report: () => countedUsage(reader.usage, ended, 0),
  };
}

function isFormat(name: string): name is FormatName {
  return Object.hasOwn(FORMATS, name);
}
