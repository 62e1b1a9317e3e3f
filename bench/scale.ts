import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { createdKeySchema } from '../src/admin/contract.ts';
import { modelResource, providerResource, type ResourceObject } from '../test/support/gateway.ts';
import { residentBytes } from '../test/support/system/memory.ts';
import { limitPolicy, scaleKey, type Scale, ScaleInstallation } from '../test/support/system/scale.ts';
import { measure, type Variant, type Workload } from './measure.ts';
import { markdownTables, spreadOf, type Spread, summarize } from './statistics.ts';
import { startSharedUpstream } from './variants.ts';

/**
 * Limen with the most that it is made for beside a tenth of that and next to nothing: memory, start, how long a change
 * takes to be in force, and what a request costs. All of them run at once, and what is compared is measured in turns.
 */

const SCALES: Readonly<Record<string, Scale>> = {
  'next to nothing': { users: 1, keys: 1, rules: 4, models: 1, providers: 1 },
  'a tenth': { users: 1500, keys: 5000, rules: 200, models: 20, providers: 2 },
  full: { users: 15_000, keys: 50_000, rules: 2000, models: 200, providers: 20 },
};

const WORKLOAD: Workload = {
  name: 'small',
  path: '/v1/chat/completions',
  connections: 16,
  promptBytes: 32,
  chunks: 0,
};

const WORKERS = 2;
const MIB = 2 ** 20;
const QUIET_MS = 15_000;
const PROBE_USER = 'probe-user';
/** So many answers in a row, so that every worker is likely to have given one. */
const ANSWERS_IN_A_ROW = 6;
const IN_FORCE_WITHIN_MS = 30_000;

export interface ScaleOptions {
  readonly rounds: number;
  readonly secondsPerSample: number;
  readonly warmupSeconds: number;
  /** How often each kind of change is made in each installation. */
  readonly changes: number;
  readonly restarts: number;
  readonly onProgress: (text: string) => void;
}

type Figures = Record<string, Record<string, number[]>>;

/** Runs it all and tells it in Markdown. */
export async function benchScale(options: ScaleOptions): Promise<string> {
  const upstream = await startSharedUpstream(0);
  const twins = await Promise.all(['first', 'second'].map(startNamedUpstream));
  const installations: Record<string, ScaleInstallation> = {};
  const figures: Figures = {};
  const note = (row: string, scale: string, value: number): void => {
    ((figures[row] ??= {})[scale] ??= []).push(value);
  };
  try {
    for (const [name, scale] of Object.entries(SCALES)) {
      options.onProgress(`starting ${name}`);
      const env = { LIMEN_WORKERS: String(WORKERS) };
      installations[name] = await ScaleInstallation.start(scale, upstream.port, env, [fileProbe(1)]);
    }
    const all = Object.entries(installations);
    for (let round = 0; round < options.restarts; round += 1) {
      options.onProgress(`start ${round + 1} of ${options.restarts}`);
      for (const [name, installation] of inTurns(all, round)) {
        note('start to the first served request, ms', name, await installation.restart());
      }
    }
    await pause(QUIET_MS);
    for (const [name, installation] of all)
      await noteMemory(installation, (row, value) => note(row, name, value));
    const series = await measure(all.map(asVariant), [WORKLOAD], options);
    const ports = twins.map(({ port }) => port);
    const probing = await Promise.all(
      all.map(async ([name, installation]) => {
        const key = await installation.gateway.createKey({ user: PROBE_USER });
        const changes = new Changes(installation, key, ports);
        await changes.begin();
        return [name, changes] as const;
      }),
    );
    for (let round = 0; round < options.changes; round += 1) {
      options.onProgress(`change ${round + 1} of ${options.changes}`);
      for (const [name, changes] of inTurns(probing, round)) {
        await changes.make(round, (row, value) => note(row, name, value));
      }
    }
    for (let round = 0; round < options.restarts; round += 1) {
      options.onProgress(`directory anew ${round + 1}`);
      for (const [name, installation] of inTurns(all, round)) {
        await noteSync(installation, (row, value) => note(row, name, value));
      }
    }
    return [markdownOf(figures), markdownTables(summarize(series), [Object.keys(SCALES)[0] ?? ''])].join(
      '\n',
    );
  } catch (error) {
    // What was measured until then took minutes.
    options.onProgress(`\n${markdownOf(figures)}`);
    throw error;
  } finally {
    for (const installation of Object.values(installations)) await installation.stop();
    for (const { close } of twins) close();
    await upstream.stop();
  }
}

function inTurns<Item>(items: readonly Item[], round: number): readonly Item[] {
  const first = round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

type Note = (row: string, value: number) => void;

/** Resident memory of each part, at its lowest of some seconds without requests. */
async function noteMemory({ gateway }: ScaleInstallation, note: Note): Promise<void> {
  const lowest = new Map<string, number>();
  for (let sample = 0; sample < 10; sample += 1) {
    for (const [name, pid] of Object.entries(gateway.pids())) {
      if (!/^(envoy|control|processor-\d+)$/.test(name)) continue;
      lowest.set(name, Math.min(residentBytes(pid), lowest.get(name) ?? Infinity));
    }
    await pause(300);
  }
  for (const [name, bytes] of lowest) note(`memory of ${name.replace(/-\d+$/, ' (each)')}, MiB`, bytes / MIB);
}

/** A control plane that is new has a directory of its own: each worker gets all of it, while it serves. */
async function noteSync(installation: ScaleInstallation, note: Note): Promise<void> {
  const { gateway, scale } = installation;
  const stall = 'limen_nodejs_eventloop_lag_max_seconds';
  const stalls = () =>
    Promise.all(Array.from({ length: WORKERS }, (_, index) => installation.workerMetric(index, stall)));
  await installation.ask(scaleKey(0));
  await stalls();
  await pause(1000);
  for (const idle of await stalls())
    note('longest delay of a worker’s event loop in a second at rest, ms', idle * 1000);
  const before = gateway.pids()['control'] ?? 0;
  const started = performance.now();
  process.kill(before, 'SIGKILL');
  // It answers once the workers may have what it has.
  for (;;) {
    const made = await gateway.createKey({ user: PROBE_USER }).catch(() => undefined);
    if (made !== undefined && (await installation.ask(made)).status === 200) break;
    if (performance.now() - started > 60_000) throw new Error('The control plane does not come back.');
    await installation.ask(scaleKey(scale.keys - 1));
  }
  note(
    'a control plane that was killed: until a key made by its successor works, ms',
    performance.now() - started,
  );
  for (const worst of await stalls())
    note('longest delay of a worker’s event loop meanwhile, ms', worst * 1000);
}

/** The rule that is changed in the file. */
function fileProbe(requests: number): ResourceObject {
  return limitPolicy('probe-file', probeRule('model-0', requests));
}

function probeRule(model: string, requests: number): object {
  return {
    per: 'user',
    match: { users: [PROBE_USER], models: [model] },
    requests: 1_000_000 + requests,
    window: '1h',
  };
}

const INVALID = { status: 0 };

/** Every kind of change to one installation, and how long each takes to be in force everywhere. */
class Changes {
  readonly #installation: ScaleInstallation;
  readonly #key: string;
  readonly #ports: readonly number[];

  constructor(installation: ScaleInstallation, key: string, ports: readonly number[]) {
    this.#installation = installation;
    this.#key = key;
    this.#ports = ports;
  }

  /** The model that the others are about. */
  async begin(): Promise<void> {
    await this.#provider(1);
    await this.#untilAll('probe-model', () => true);
  }

  async make(round: number, note: Note): Promise<void> {
    const { gateway } = this.#installation;
    const key = await timed(
      (ms) => note('a new key is used, ms', ms),
      async () => {
        const made = createdKeySchema.parse(await gateway.admin('POST', '/keys', { user: PROBE_USER }));
        note('new keys refused at first', await this.#isAtOnce(made.key, 200));
        return made;
      },
    );
    await timed(
      (ms) => note('a revoked key is refused, ms', ms),
      async () => {
        await gateway.admin('POST', `/keys/${key.id}/revoke`, {});
        note('revoked keys taken at first', await this.#isAtOnce(key.key, 401));
      },
    );
    await timed(
      (ms) => note('a limit changed by the API, ms', ms),
      async () => {
        await this.#apply(limitPolicy('probe-api', probeRule('probe-model', round + 1)));
        await this.#limitIs('probe-model', round);
      },
    );
    await timed(
      (ms) => note('a limit changed in the file, ms', ms),
      async () => {
        const others = this.#installation.config.filter((one) => !isNamed(one, 'probe-file'));
        gateway.writeConfig([...others, fileProbe(round + 2)]);
        await this.#untilAll(
          'model-0',
          ({ headers }) => headers[LIMIT_HEADER] === String(1_000_000 + round + 2),
        );
      },
    );
    await timed(
      (ms) => note('a provider’s address changed by the API, ms', ms),
      async () => {
        await this.#provider(round);
        const wanted = round % 2 === 0 ? 'first' : 'second';
        await this.#untilAll('probe-model', ({ body }) => body.includes(wanted));
      },
    );
  }

  /** 0 where the first answers are the expected ones already. */
  async #isAtOnce(key: string, status: number): Promise<number> {
    const answers = await Promise.all(
      Array.from({ length: ANSWERS_IN_A_ROW }, () => this.#installation.ask(key)),
    );
    if (answers.every((answer) => answer.status === status)) return 0;
    await this.#installation.until(status, key, IN_FORCE_WITHIN_MS);
    return 1;
  }

  async #limitIs(model: string, round: number): Promise<void> {
    await this.#untilAll(model, ({ headers }) => headers[LIMIT_HEADER] === String(1_000_000 + round + 1));
  }

  async #provider(round: number): Promise<void> {
    const baseUrl = `http://127.0.0.1:${this.#ports[round % 2] ?? 0}/v1`;
    await this.#apply(
      providerResource('probe-provider', { type: 'openai-compatible', baseUrl }),
      modelResource('probe-model', [{ provider: 'probe-provider' }], { price: { input: 1, output: 1 } }),
    );
  }

  #apply(...resources: readonly ResourceObject[]): Promise<unknown> {
    return this.#installation.gateway.admin('PUT', '/resources', { resources });
  }

  async #untilAll(
    model: string,
    isRight: (outcome: Awaited<ReturnType<ScaleInstallation['ask']>>) => boolean,
  ): Promise<void> {
    const deadline = performance.now() + IN_FORCE_WITHIN_MS;
    let last: { status: number; body?: string } = INVALID;
    for (let inARow = 0; inARow < ANSWERS_IN_A_ROW;) {
      const outcome = await this.#installation.ask(this.#key, model);
      inARow = outcome.status === 200 && isRight(outcome) ? inARow + 1 : 0;
      last = outcome;
      if (performance.now() > deadline) throw new Error(`A change is not in force: ${JSON.stringify(last)}`);
    }
  }
}

const LIMIT_HEADER = 'x-ratelimit-limit-requests';

function isNamed({ metadata }: ResourceObject, name: string): boolean {
  return typeof metadata === 'object' && metadata !== null && 'name' in metadata && metadata.name === name;
}

async function timed<Result>(
  note: (milliseconds: number) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const started = performance.now();
  const result = await work();
  note(performance.now() - started);
  return result;
}

function asVariant([name, installation]: readonly [string, ScaleInstallation]): Variant {
  return {
    name,
    start: () => {
      const pids = Object.entries(installation.gateway.pids());
      const named = (prefix: string) =>
        pids.flatMap(([child, pid]) => (child.startsWith(prefix) ? [pid] : []));
      return Promise.resolve({
        url: installation.gateway.url,
        headers: { authorization: `Bearer ${scaleKey(0)}` },
        model: 'model-0',
        pids: { envoy: named('envoy'), processor: named('processor') },
        stop: () => Promise.resolve(),
      });
    },
  };
}

/** An upstream that answers with its name. */
async function startNamedUpstream(
  name: string,
): Promise<{ readonly port: number; readonly close: () => void }> {
  const answer = JSON.stringify({
    id: 'chatcmpl-bench',
    object: 'chat.completion',
    created: 1_760_000_000,
    model: 'bench',
    choices: [{ index: 0, message: { role: 'assistant', content: name }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 2, completion_tokens: 1, total_tokens: 3 },
  });
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => response.setHeader('content-type', 'application/json').end(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The upstream has no port.');
  return {
    port: address.port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function markdownOf(figures: Figures): string {
  const names = Object.keys(SCALES);
  const lines = Object.entries(figures).map(([row, byScale]) => [
    row,
    ...names.map((name) => {
      const values = byScale[name] ?? [];
      return row.endsWith('at first')
        ? `${values.reduce((sum, value) => sum + value, 0)} of ${values.length}`
        : withSpread(spreadOf(values));
    }),
  ]);
  const header = ['', ...names];
  return `${[header, header.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`;
}

function withSpread({ median, low, high }: Spread): string {
  return `${median.toFixed(0)} (${low.toFixed(0)}–${high.toFixed(0)})`;
}
