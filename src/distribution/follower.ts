import { DirectoryContent } from './directory-table.ts';
import { decodeToWorker, receiptOf, type Receipt, type ToControl, type ToWorker } from './messages.ts';
import type { SnapshotStore } from './store.ts';

/** A whole directory that arrives in parts. */
interface Arriving {
  readonly epoch: string;
  readonly sequence: number;
  nextPart: number;
  readonly content: DirectoryContent;
}

/**
 * The worker's half of one connection, without gRPC: messages in, answers out. What cannot be put in force is
 * refused with the reason, and what was in force stays.
 */
export class Follower {
  readonly #worker: string;
  readonly #store: SnapshotStore;
  #arriving: Arriving | undefined;

  constructor(worker: string, store: SnapshotStore) {
    this.#worker = worker;
    this.#store = store;
  }

  /** The first message of a connection: what this worker has already. */
  hello(): ToControl {
    const { versions, directory } = this.#store;
    const { position } = directory;
    return {
      type: 'hello',
      worker: this.#worker,
      snapshots: versions,
      ...(position === undefined ? {} : { directory: position }),
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
    const { directory } = this.#store;
    switch (message.type) {
      case 'welcome':
        return;
      case 'snapshot':
        return this.#store.put(message.snapshot);
      case 'current': {
        const snapshot = this.#store.get(message.version);
        if (snapshot === undefined) throw new Error(`no snapshot ${message.version} here`);
        return this.#store.put(snapshot);
      }
      case 'directory-change': {
        const { epoch, sequence } = message;
        const position = directory.position;
        // Changes build on each other: one that does not follow on would leave alive what is revoked.
        if (position?.epoch !== epoch || position.sequence !== sequence - 1) {
          throw new Error(`change ${sequence} does not follow ${position?.sequence ?? 'nothing'}`);
        }
        return directory.change(message.upsert, message.remove, { epoch, sequence });
      }
      case 'directory-table':
        return this.#applyPart(message);
    }
  }

  #applyPart(message: Extract<ToWorker, { type: 'directory-table' }>): void {
    const { epoch, sequence, part } = message;
    if (part === 1) this.#arriving = { epoch, sequence, nextPart: 1, content: new DirectoryContent() };
    const arriving = this.#arriving;
    if (arriving?.epoch !== epoch || arriving.sequence !== sequence || arriving.nextPart !== part) {
      throw new Error(`part ${part} of the directory does not follow`);
    }
    for (const entry of message.entries) arriving.content.put(entry);
    arriving.nextPart += 1;
    if (!message.last) return;
    this.#arriving = undefined;
    this.#store.directory.replace(arriving.content, { epoch, sequence });
  }
}

function receiptFor(message: ToWorker): Receipt | undefined {
  switch (message.type) {
    case 'welcome':
      return undefined;
    case 'snapshot':
    case 'current':
      return { kind: 'snapshot', ordinal: message.ordinal };
    case 'directory-change':
      return { kind: 'directory', epoch: message.epoch, sequence: message.sequence, part: 0 };
    case 'directory-table':
      return { kind: 'directory', epoch: message.epoch, sequence: message.sequence, part: message.part };
  }
}
