import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Child, ChildDefinition } from './child.ts';
import { PidFiles } from './pid-files.ts';
import { identify } from './process-identity.ts';
import { Supervisor } from './supervisor.ts';

const READY = `process.send({ type: 'ready' });`;
const STAY = `setInterval(() => {}, 1000);`;

let folder: string;
let running: Supervisor | undefined;
let history: string[];
let lines: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-supervisor-'));
  history = [];
  lines = [];
});

afterEach(async () => {
  await running?.stop(0);
  running = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function node(name: string, code: string, more: Partial<ChildDefinition> = {}): ChildDefinition {
  return {
    name,
    needs: [],
    launch: () => ({ command: process.execPath, args: ['-e', code], env: { PATH: '/usr/bin:/bin' } }),
    ready: 'message',
    readyWithinMs: 15_000,
    stopSignal: 'SIGTERM',
    graceMs: 5_000,
    ...more,
  };
}

function supervise(...children: ChildDefinition[]): Supervisor {
  running = new Supervisor({
    children,
    pidFiles: new PidFiles(join(folder, 'pids')),
    logs: folder,
    events: {
      onState: (child) => history.push(`${child.name} ${child.state}`),
      onLine: (child, text) => lines.push(`${child.name}: ${text}`),
    },
  });
  return running;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`gave up waiting; history: ${history.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function position(event: string): number {
  const index = history.lastIndexOf(event);
  if (index < 0) throw new Error(`${event} did not happen: ${history.join(', ')}`);
  return index;
}

function isUp(child: Child): boolean {
  return child.pid !== undefined && identify(child.pid) !== undefined;
}

describe('Supervisor', () => {
  it('starts by needs and stops in the reverse order', async () => {
    const supervisor = supervise(
      node('envoy', READY + STAY, { needs: ['redis'], stopsBefore: ['control'] }),
      node('control', READY + STAY, { needs: ['redis'] }),
      node('redis', READY + STAY),
    );
    await supervisor.start();
    expect(position('redis ready')).toBeLessThan(history.indexOf('control starting'));
    expect(supervisor.children.every(isUp)).toBe(true);
    await supervisor.stop(1);
    expect(position('envoy stopped')).toBeLessThan(position('control stopping'));
    expect(position('control stopped')).toBeLessThan(position('redis stopping'));
    expect(supervisor.children.some(isUp)).toBe(false);
  });

  it('brings back a killed child within a second or so, and keeps the others', async () => {
    const supervisor = supervise(node('worker', READY + STAY), node('other', READY + STAY));
    await supervisor.start();
    const worker = supervisor.child('worker');
    const other = supervisor.child('other').pid;
    const first = worker.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await until(() => worker.restarts === 1 && worker.state === 'ready');
    expect(worker.pid).not.toBe(first);
    expect(worker.lastExit).toBe('ended by SIGKILL');
    expect(supervisor.child('other').pid).toBe(other);
  });

  it('gives up at start with the last words of a child that only crashes, and stops the rest', async () => {
    const supervisor = supervise(
      node('fine', READY + STAY),
      node('broken', `console.error('cannot open the database'); process.exit(3);`),
      node('later', READY + STAY, { needs: ['broken'] }),
    );
    await expect(supervisor.start()).rejects.toThrow(
      /broken does not start: exit status 3\.\n {4}cannot open the database/,
    );
    expect(supervisor.child('fine').state).toBe('stopped');
    expect(history).not.toContain('later starting');
  });

  it('gives up at start on a child that is never ready', async () => {
    const supervisor = supervise(node('silent', STAY, { readyWithinMs: 200 }));
    await expect(supervisor.start()).rejects.toThrow('silent does not start: not ready after 0.2 s');
    expect(isUp(supervisor.child('silent'))).toBe(false);
  });

  it('says what is wrong with a command that does not exist', async () => {
    const launch = () => ({ command: '/does/not/exist', args: [], env: {} });
    await expect(supervise(node('envoy', '', { launch })).start()).rejects.toThrow(
      /envoy does not start: .*ENOENT/,
    );
  });

  it('kills what does not go by itself', async () => {
    const supervisor = supervise(
      node('stubborn', `process.on('SIGTERM', () => {});${READY}${STAY}`, { graceMs: 200 }),
    );
    await supervisor.start();
    await supervisor.stop(0);
    expect(supervisor.child('stubborn').lastExit).toBe('ended by SIGKILL');
  });

  it('drains before the stop signal, and a second stop ends the draining', async () => {
    let drained = '';
    const drain = async (signal: AbortSignal): Promise<void> => {
      drained = 'begun';
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      drained = 'cut short';
    };
    const supervisor = supervise(node('envoy', READY + STAY, { drain }));
    await supervisor.start();
    const stopped = supervisor.stop(600);
    await until(() => drained === 'begun');
    expect(isUp(supervisor.child('envoy'))).toBe(true);
    await supervisor.stop(600);
    await stopped;
    expect(drained).toBe('cut short');
  });

  it('restarts a child on request without calling it a crash', async () => {
    const supervisor = supervise(node('worker', READY + STAY));
    await supervisor.start();
    const worker = supervisor.child('worker');
    const first = worker.pid;
    await worker.restart();
    await until(() => worker.state === 'ready' && worker.pid !== first);
    expect(history).not.toContain('worker crashed');
  });

  it('waits for a probe, keeps all output in the log and shows what matters', async () => {
    let asked = 0;
    const supervisor = supervise(
      node('redis', `console.log('# detail'); console.error('! trouble'); ${STAY}`, {
        ready: () => Promise.resolve((asked += 1) > 2 && lines.length > 0),
        important: (line) => (line.startsWith('!') ? line.slice(2) : undefined),
      }),
    );
    await supervisor.start();
    await until(() => readFileSync(join(folder, 'redis.log'), 'utf8').includes('# detail'));
    expect(lines).toEqual(['redis: trouble']);
    expect(readFileSync(join(folder, 'redis.log'), 'utf8')).toContain('! trouble');
    expect(supervisor.child('redis').readyAfterMs).toBeGreaterThan(0);
  });

  it('refuses a need that no child has', () => {
    expect(() => supervise(node('control', STAY, { needs: ['postgers'] }))).toThrow(
      'there is no child named postgers',
    );
  });
});
