import type { Child } from './child.ts';

/** Where the board writes to: standard error of the process, usually. */
export interface Terminal {
  readonly isTTY?: boolean;
  /** Height of a terminal, in lines. */
  readonly rows?: number;
  write(text: string): unknown;
}

const MARKS = { waiting: '·', starting: '…', ready: '✓', crashed: '✗', stopping: '…', stopped: '■' } as const;
const REDRAW_MS = 100;

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/**
 * Shows how the children come up: on a terminal one table that is redrawn in place, elsewhere one line for each
 * that is ready. Later it shows crashes, returns and the lines that matter.
 */
export class Board {
  readonly #terminal: Terminal;
  /** Whether a table is drawn: it needs a terminal that has room for it. */
  #live: boolean;
  readonly #since = new Map<string, number>();
  #children: readonly Child[] = [];
  #width = 0;
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;
  #starting = true;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.#live = terminal.isTTY === true;
  }

  /** Begins to show the start of these children. */
  open(children: readonly Child[]): void {
    this.#children = children;
    this.#width = Math.max(...children.map(({ name }) => name.length));
    this.#live &&= children.length + 2 < (this.#terminal.rows ?? 24);
    if (!this.#live) return;
    this.#timer = setInterval(() => this.#redraw(), REDRAW_MS);
    this.#redraw();
  }

  /** Ends the table: all are up, or the start has failed. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#live && this.#starting) this.#redraw();
    this.#drawn = 0;
    this.#starting = false;
  }

  /** A child changed its state. */
  state(child: Child): void {
    if (child.state === 'starting') this.#since.set(child.name, Date.now());
    if (child.state === 'crashed') {
      const words = child.lastLines.slice(-3).map((line) => `\n      ${line}`);
      // In a crash loop the words are the same each time; the log has them all.
      const again = child.restarts > 1 ? ` (${child.restarts} times)` : '';
      this.line(
        `  ${MARKS.crashed} ${child.name} ${child.lastExit ?? 'ended'}${again}, starting it again${child.restarts > 3 ? '' : words.join('')}`,
      );
    }
    if (child.state !== 'ready') return;
    if (!this.#starting) this.line(`  ${MARKS.ready} ${child.name} is back after ${this.#elapsed(child)}`);
    else if (!this.#live) this.line(this.#row(child));
  }

  /** One line for the reader, above the table while there is one. */
  line(text: string): void {
    this.#erase();
    this.#terminal.write(`${text}\n`);
    if (this.#live && this.#starting && this.#timer) this.#redraw();
  }

  #row(child: Child): string {
    const name = child.name.padEnd(this.#width);
    return `  ${MARKS[child.state]} ${name}  ${this.#elapsed(child)}`.trimEnd();
  }

  #elapsed(child: Child): string {
    const since = this.#since.get(child.name);
    if (since === undefined) return '';
    if (child.state === 'ready' && child.restarts === 0 && child.readyAfterMs !== undefined)
      return seconds(child.readyAfterMs);
    return seconds(Date.now() - since);
  }

  #erase(): void {
    if (this.#drawn > 0) this.#terminal.write(`\u001b[${this.#drawn}A\u001b[J`);
    this.#drawn = 0;
  }

  #redraw(): void {
    this.#erase();
    this.#terminal.write(this.#children.map((child) => `${this.#row(child)}\n`).join(''));
    this.#drawn = this.#children.length;
  }
}
