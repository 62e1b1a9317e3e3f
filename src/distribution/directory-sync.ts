import type { DirectoryLog, TablePart } from './directory-log.ts';
import type { DirectoryPosition, Receipt } from './messages.ts';

type DirectoryReceipt = Extract<Receipt, { kind: 'directory' }>;

/** A message to send, and what its answer will name. */
export interface DirectoryMessage {
  readonly receipt: DirectoryReceipt;
  readonly bytes: Buffer;
}

/**
 * What one worker has of the directory. A worker that follows gets changes; one that is new, too far behind or
 * out of step gets the whole table. One that refuses a whole table gets the next when something has changed again.
 */
export class DirectorySync {
  readonly #log: DirectoryLog;
  /** The change up to which all was sent; undefined: the worker needs the whole table. */
  #sent: number | undefined;
  /** The change up to which all is in force in the worker; 0: none. */
  #inForce = 0;
  #table: Generator<TablePart> | undefined;
  /** The table that was sent last; `part` is its last part, once that was sent: only with it is it in force. */
  #lastPart: { readonly sequence: number; readonly part: number | undefined } | undefined;
  #refusal: { readonly message: string } | undefined;

  constructor(log: DirectoryLog) {
    this.#log = log;
  }

  /** @param position where the worker says it is */
  begin(position: DirectoryPosition | undefined): void {
    if (
      position === undefined ||
      position.epoch !== this.#log.epoch ||
      position.sequence > this.#log.sequence
    )
      return;
    this.#sent = position.sequence;
    this.#inForce = position.sequence;
  }

  /** The next change, for a worker that follows. */
  nextChange(): DirectoryMessage | undefined {
    if (this.#table !== undefined || this.#sent === undefined || this.#sent >= this.#log.sequence)
      return undefined;
    const sequence = this.#sent + 1;
    const bytes = this.#refusal === undefined ? this.#log.change(sequence) : undefined;
    if (bytes === undefined) {
      this.#sent = undefined;
      return undefined;
    }
    this.#sent = sequence;
    return { receipt: this.#receipt(sequence, 0), bytes };
  }

  /** The next part of the whole table, for a worker that needs it. */
  nextTablePart(): DirectoryMessage | undefined {
    if (this.#table === undefined) {
      if (this.#sent !== undefined || this.#log.sequence === 0) return undefined;
      this.#table = this.#log.whole();
      this.#lastPart = undefined;
      this.#refusal = undefined;
    }
    const next = this.#table.next();
    if (next.done === true) return undefined;
    const { sequence, part, last, bytes } = next.value;
    this.#lastPart = { sequence, part: last ? part : undefined };
    if (last) {
      this.#table = undefined;
      this.#sent = sequence;
    }
    return { receipt: this.#receipt(sequence, part), bytes };
  }

  /** @param refusal why the message is not in force; undefined: it is */
  answer({ sequence, part }: DirectoryReceipt, refusal: string | undefined): void {
    const table = part > 0 && this.#lastPart?.sequence === sequence ? this.#lastPart : undefined;
    if (refusal === undefined) {
      if (part === 0 || part === table?.part) this.#inForce = Math.max(this.#inForce, sequence);
    } else if (table !== undefined) {
      this.#refusal = { message: refusal };
      this.#table = undefined;
      this.#sent = this.#log.sequence;
    } else if (part === 0 && sequence > (this.#lastPart?.sequence ?? 0)) {
      // Out of step. Changes that were on their way already will be refused, too: the table covers them.
      this.#sent = undefined;
    }
  }

  settlement(sequence: number): 'acknowledged' | 'waiting' | { readonly refused: string } {
    if (this.#inForce >= sequence) return 'acknowledged';
    return this.#refusal === undefined ? 'waiting' : { refused: this.#refusal.message };
  }

  #receipt(sequence: number, part: number): DirectoryReceipt {
    return { kind: 'directory', epoch: this.#log.epoch, sequence, part };
  }
}
