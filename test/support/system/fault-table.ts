import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One line of the table of faults in docs/operations.md. */
export interface FaultPromise {
  readonly fault: string;
  readonly mostFailures: number;
  /** Longest wait of a client whose request fails. */
  readonly failWithinSeconds: number;
  /** How failures may look: a status, `broken`, `no answer`. */
  readonly failures: readonly string[];
  readonly openStreams: 'all survive' | 'native survive' | 'all break';
  readonly recoverySeconds: number;
  readonly usageSources: readonly string[];
}

const DOCUMENT = join(import.meta.dirname, '../../../docs/operations.md');
const HEADER = ['fault', 'new requests', 'open streams', 'recovers within', 'rows'];

/** The table as it stands in the documentation. @throws where a cell says what nobody would check */
export function readFaultTable(): readonly FaultPromise[] {
  const lines = readFileSync(DOCUMENT, 'utf8').split('\n').map(cells);
  const start = lines.findIndex((line) => line.join() === HEADER.join());
  if (start === -1) throw new Error(`docs/operations.md has no table with the columns ${HEADER.join(', ')}`);
  const rest = lines.slice(start + 2);
  const end = rest.findIndex((line) => line.length === 0);
  return rest.slice(0, end === -1 ? undefined : end).map(promise);
}

function cells(line: string): string[] {
  return line.startsWith('|')
    ? line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim())
    : [];
}

function promise([
  fault = '',
  requests = '',
  streams = '',
  recovery = '',
  rows = '',
]: string[]): FaultPromise {
  return {
    fault,
    ...newRequests(requests),
    openStreams: openStreams(streams),
    recoverySeconds: Number(matched(recovery, /^(\d+) s$/)[0]),
    usageSources: list(matched(rows, /^one each; usage of (.+)$/)[0]),
  };
}

function newRequests(cell: string): Pick<FaultPromise, 'mostFailures' | 'failWithinSeconds' | 'failures'> {
  if (cell === 'none fails') return { mostFailures: 0, failWithinSeconds: 0, failures: [] };
  const [most, seconds, failures] = matched(cell, /^at most (\d+) fail, each within (\d+) s: (.+)$/);
  return { mostFailures: Number(most), failWithinSeconds: Number(seconds), failures: list(failures) };
}

function openStreams(cell: string): FaultPromise['openStreams'] {
  if (cell === 'all survive' || cell === 'all break') return cell;
  matched(cell, /^(native survive; strip and converted of that worker break)$/);
  return 'native survive';
}

function list(text = ''): string[] {
  return text.split(/, | or /);
}

function matched(cell: string, pattern: RegExp): readonly (string | undefined)[] {
  const match = pattern.exec(cell);
  if (!match) throw new Error(`docs/operations.md: ${JSON.stringify(cell)} is not understood`);
  return match.slice(1);
}
