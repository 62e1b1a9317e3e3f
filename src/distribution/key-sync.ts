import type { KeyLog, TablePart } from './key-log.ts';
import type { KeysPosition, Receipt } from './messages.ts';

type KeysReceipt = Extract<Receipt, { kind: 'keys' }>;

/** A message to send, and what its answer will name. */
export interface KeyMessage {
  readonly receipt: KeysReceipt;
  readonly bytes: Buffer;
}

/**
 * What one worker has of the key table. A worker that follows gets changes; one that is new, too far behind or
 * out of step gets the whole table. One that refuses a whole table gets the next when keys have changed again.
 */
export class KeySync {
  readonly #log: KeyLog;
  /** The change up to which keys were sent; undefined: the worker needs the whole table. */
  #sent: number | undefined;
  /** The change up to which keys are in force in the worker; 0: none. */
  #inForce = 0;
  #table: Generator<TablePart> | undefined;
  /** The table that was sent last; `part` is its last part, once that was sent: only with it is it in force. */
  #lastPart: { readonly sequence: number; readonly part: number | undefined } | undefined;
  #refusal: { readonly message: string } | undefined;

  constructor(log: KeyLog) {
    this.#log = log;
  }

  /** @param position where the worker says it is */
  begin(position: KeysPosition | undefined): void {
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
  nextChange(): KeyMessage | undefined {
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
  nextTablePart(): KeyMessage | undefined {
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
  answer({ sequence, part }: KeysReceipt, refusal: string | undefined): void {
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

  #receipt(sequence: number, part: number): KeysReceipt {
    return { kind: 'keys', epoch: this.#log.epoch, sequence, part };
  }
}
