import type { VirtualKey } from '../core/snapshot.ts';
import { decodeToWorker, receiptOf, type Receipt, type ToControl, type ToWorker } from './messages.ts';
import type { KeyTable, SnapshotStore } from './store.ts';

/** What a worker holds. */
export interface WorkerState {
  readonly snapshots: SnapshotStore<unknown>;
  readonly keys: KeyTable;
}

/** A key table that arrives in parts. */
interface Arriving {
  readonly epoch: string;
  readonly sequence: number;
  nextPart: number;
  readonly keys: Map<string, VirtualKey>;
}

/**
 * The worker's half of one connection, without gRPC: messages in, answers out. What cannot be put in force is
 * refused with the reason, and what was in force stays.
 */
export class Follower {
  readonly #worker: string;
  readonly #state: WorkerState;
  #arriving: Arriving | undefined;

  constructor(worker: string, state: WorkerState) {
    this.#worker = worker;
    this.#state = state;
  }

  /** The first message of a connection: what this worker has already. */
  hello(): ToControl {
    const { snapshots, keys } = this.#state;
    const position = keys.position;
    return {
      type: 'hello',
      worker: this.#worker,
      snapshots: snapshots.versions,
      ...(position === undefined ? {} : { keys: position }),
    };
  }

  /** Puts a message in force and answers it; undefined where there is nothing to answer. */
  handle(bytes: Buffer): ToControl | undefined {
    let receipt: Receipt | undefined;
    try {
      const message = decodeToWorker(bytes);
      receipt = receiptFor(message);
      this.#apply(message);
      return receipt === undefined ? undefined : { type: 'acknowledge', receipt };
    } catch (error) {
      receipt ??= receiptOf(bytes);
      const message = error instanceof Error ? error.message : 'unknown error';
      return receipt === undefined ? undefined : { type: 'refuse', receipt, message };
    }
  }

  #apply(message: ToWorker): void {
    const { snapshots, keys } = this.#state;
    switch (message.type) {
      case 'welcome':
        return;
      case 'snapshot':
        return snapshots.put(message.snapshot);
      case 'current':
        if (!snapshots.activate(message.version)) throw new Error(`no snapshot ${message.version} here`);
        return;
      case 'key-change': {
        const { epoch, sequence } = message;
        const position = keys.position;
        // Changes build on each other: one that does not follow on would leave a revoked key alive.
        if (position?.epoch !== epoch || position.sequence !== sequence - 1) {
          throw new Error(`key change ${sequence} does not follow ${position?.sequence ?? 'nothing'}`);
        }
        return keys.change(message.upsert, message.remove, { epoch, sequence });
      }
      case 'key-table':
        return this.#applyPart(message);
    }
  }

  #applyPart(message: Extract<ToWorker, { type: 'key-table' }>): void {
    const { epoch, sequence, part } = message;
    if (part === 0) this.#arriving = { epoch, sequence, nextPart: 0, keys: new Map() };
    const arriving = this.#arriving;
    if (arriving?.epoch !== epoch || arriving.sequence !== sequence || arriving.nextPart !== part) {
      throw new Error(`part ${part} of the key table does not follow`);
    }
    for (const key of message.keys) arriving.keys.set(key.hash, key);
    arriving.nextPart += 1;
    if (!message.last) return;
    this.#arriving = undefined;
    this.#state.keys.replace(arriving.keys, { epoch, sequence });
  }
}

function receiptFor(message: ToWorker): Receipt | undefined {
  switch (message.type) {
    case 'welcome':
      return undefined;
    case 'snapshot':
    case 'current':
      return { kind: 'snapshot', ordinal: message.ordinal };
    case 'key-change':
      return { kind: 'keys', epoch: message.epoch, sequence: message.sequence, part: 0 };
    case 'key-table':
      return { kind: 'keys', epoch: message.epoch, sequence: message.sequence, part: message.part };
  }
}
