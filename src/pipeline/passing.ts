import type { RequestContext } from '../core/ledger.ts';
import { FORMATS, isFormat } from '../formats/index.ts';
import { createUsageReader } from '../formats/usage-reader.ts';
import type { LegReportInput } from '../ledger/leg-report.ts';
import { countedUsage } from './report.ts';

/** Largest event, and largest answer in one piece, that is read for its usage. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** Bytes at the end of a stream in which its own ending is looked for: one short event and some white space. */
const TAIL_BYTES = 256;

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
  const tail = new Tail();
  let ended = false;
  // What a Messages stream tells at its beginning is no count of its output; without its ending nothing is told.
  const complete = () => ended && (!isStream || format.name !== 'messages' || tail.includes('message_stop'));
  return {
    push: (chunk) => {
      reader.push(chunk);
      tail.push(chunk);
      return chunk;
    },
    end: () => {
      reader.end();
      ended = true;
      return Buffer.alloc(0);
    },
    report: () => (complete() ? countedUsage(reader.usage, true, 0) : {}),
  };
}

/** The last bytes of an answer, whatever the pieces in which it came. */
class Tail {
  #bytes = Buffer.alloc(0);

  push(chunk: Buffer): void {
    const joined = chunk.length >= TAIL_BYTES ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#bytes = Buffer.from(joined.subarray(-TAIL_BYTES));
  }

  includes(text: string): boolean {
    return this.#bytes.includes(text);
  }
}
