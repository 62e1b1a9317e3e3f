import { join } from 'node:path';
import { Child, type ChildDefinition, type ChildEvents } from './child.ts';
import { LogFile } from './log-file.ts';
import type { PidFiles } from './pid-files.ts';
import { StartError } from './start-error.ts';

/** A child that ended this often before it was ready for the first time will not come up by itself. */
const MOST_CRASHES_AT_START = 5;

export interface SupervisorOptions {
  readonly children: readonly ChildDefinition[];
  readonly pidFiles: PidFiles;
  /** Folder of the children's logs, one `NAME.log` each. */
  readonly logs: string;
  readonly events: ChildEvents;
}

/**
 * Starts children in the order of their needs, as many at once as that allows, keeps them running, and stops
 * them in the reverse order.
 */
export class Supervisor {
  readonly children: readonly Child[];
  readonly #byName: ReadonlyMap<string, Child>;
  readonly #waiting = new Map<Child, { resolve(): void; reject(error: Error): void }>();
  #stopping: Promise<void> | undefined;
  #drain = new AbortController();

  constructor({ children, pidFiles, logs, events }: SupervisorOptions) {
    const ownEvents: ChildEvents = {
      onState: (child) => {
        events.onState(child);
        this.#noteState(child);
      },
      onLine: (child, text) => events.onLine(child, text),
    };
    this.children = children.map((definition) => {
      const log = new LogFile(join(logs, `${definition.name}.log`));
      return new Child(definition, pidFiles, log, ownEvents);
    });
    this.#byName = new Map(this.children.map((child) => [child.name, child]));
    for (const child of this.children) for (const name of stopsAfter(child)) this.child(name);
  }

  /** A child by name; throws where there is none. */
  child(name: string): Child {
    const child = this.#byName.get(name);
    if (!child) throw new Error(`there is no child named ${name}`);
    return child;
  }

  /**
   * Starts everything and resolves when all are ready.
   *
   * @throws StartError where a child does not come up; what had started is stopped again by then
   */
  async start(): Promise<void> {
    const started = new Map<Child, Promise<void>>();
    const startOf = (child: Child): Promise<void> => {
      const known = started.get(child);
      if (known) return known;
      const begun = this.#startAfter(
        child,
        child.definition.needs.map((name) => startOf(this.child(name))),
      );
      started.set(child, begun);
      return begun;
    };
    const all = await Promise.allSettled(this.children.map(startOf));
    const failure = all.find((result) => result.status === 'rejected');
    if (failure) {
      await this.stop(0);
      throw failure.reason;
    }
  }

  /**
   * Stops everything, dependents first. A second call hurries: it ends the draining of the first.
   *
   * @param drainSeconds how long children may let work in flight finish
   */
  stop(drainSeconds: number): Promise<void> {
    if (this.#stopping) {
      this.#drain.abort();
      return this.#stopping;
    }
    this.#stopping = this.#stopAll(drainSeconds);
    return this.#stopping;
  }

  async #startAfter(child: Child, needs: Promise<void>[]): Promise<void> {
    await Promise.all(needs);
    if (this.#stopping) throw new StartError('Stopped before everything had started.');
    const { readyWithinMs } = child.definition;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.set(child, { resolve, reject });
        timer = setTimeout(
          () => reject(notUp(child, `not ready after ${readyWithinMs / 1000} s`)),
          readyWithinMs,
        );
        child.start();
      });
    } catch (error) {
      // Ends the others' start too: they would wait for what does not come.
      void this.stop(0);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(child);
    }
  }

  #noteState(child: Child): void {
    const waiter = this.#waiting.get(child);
    if (!waiter) return;
    if (child.state === 'ready') waiter.resolve();
    if (child.state === 'stopping' || child.state === 'stopped') {
      waiter.reject(new StartError(`${child.name} was stopped before it was ready.`));
    }
    if (child.state === 'crashed' && child.refusal) waiter.reject(child.refusal);
    if (child.state === 'crashed' && child.restarts >= MOST_CRASHES_AT_START) {
      waiter.reject(notUp(child, child.lastExit ?? 'it ended'));
    }
  }

  async #stopAll(drainSeconds: number): Promise<void> {
    const timer = setTimeout(() => this.#drain.abort(), drainSeconds * 1000);
    const stopped = new Map<Child, Promise<void>>();
    const stopOf = (child: Child): Promise<void> => {
      const known = stopped.get(child);
      if (known) return known;
      const dependents = this.children.filter((other) => stopsAfter(other).includes(child.name));
      const done = Promise.all(dependents.map(stopOf)).then(() => child.stop(this.#drain.signal));
      stopped.set(child, done);
      return done;
    };
    await Promise.all(this.children.map(stopOf));
    clearTimeout(timer);
  }
}

/** Names of the children that outlive this one. */
function stopsAfter(child: Child): readonly string[] {
  return [...child.definition.needs, ...(child.definition.stopsBefore ?? [])];
}

function notUp(child: Child, reason: string): StartError {
  const words = child.lastLines.slice(-6).map((line) => `\n    ${line}`);
  return new StartError(`${child.name} does not start: ${reason}.${words.join('')}`);
}
