import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { flagOf, variableOf, type Environment, type Settings } from '../config/env.ts';
import { findEnvoy, findPostgres, findRedisServer } from './binaries.ts';
import { Board, type Terminal } from './board.ts';
import type { ChildDefinition } from './child.ts';
import { lockDataFolder, makePrivateFolder } from './data-folder.ts';
import { installationKey } from './encryption-key.ts';
import { endpointsOf, type Endpoints } from './endpoints.ts';
import { envoyChild } from './envoy.ts';
import { nodeChild } from './node-child.ts';
import { PidFiles, sweepPidFiles } from './pid-files.ts';
import { pickFreePort, requireFreePorts } from './ports.ts';
import { postgresChild } from './postgres.ts';
import { identify } from './process-identity.ts';
import { redisChild } from './redis.ts';
import { Supervisor } from './supervisor.ts';
import { StartError } from './start-error.ts';
import { readUpState, removeUpState, writeUpState } from './up-state.ts';
import { startWatchdog } from './watchdog.ts';

export interface UpOptions {
  readonly settings: Settings;
  /** The project folder, where the set-up keeps its binaries. */
  readonly root: string;
  /** How to run one of Limen's own commands: `[process.execPath, '…/src/main.ts']`. */
  readonly main: readonly [string, ...string[]];
  /** The environment that children inherit; their settings are added to it. */
  readonly environment: Environment;
  /** The keys that workers get in place of the installation's, made of them. */
  readonly reasoningKeys: (encryptionKeys: string) => string;
  /** Envoy's bootstrap as JSON or YAML, for the endpoints of this start. */
  readonly envoyBootstrap: (endpoints: Endpoints) => string | Promise<string>;
  /** Where progress and trouble are shown. */
  readonly terminal: Terminal;
  /** Ends the start where it has not finished yet. */
  readonly signal?: AbortSignal;
}

/** A running all-in-one. */
export interface RunningSystem {
  readonly endpoints: Endpoints;
  /** The environment for a command that talks to this system: its endpoints and key as LIMEN_ variables. */
  readonly environment: Environment;
  readonly supervisor: Supervisor;
  /** Drains and stops everything in order; a second call ends the draining. Resolves when all is down. */
  stop(): Promise<void>;
}

/** Settings and endpoints as the variables that a child reads them from. */
function childEnvironment(options: UpOptions, endpoints: Endpoints, encryptionKey: string): Environment {
  const { settings, environment } = options;
  return {
    ...environment,
    [variableOf('data')]: settings.data,
    [variableOf('config')]: settings.config ?? '',
    [variableOf('gatewayPort')]: String(settings.gatewayPort),
    [variableOf('gatewayAddress')]: settings.gatewayAddress,
    [variableOf('consolePort')]: String(settings.consolePort),
    [variableOf('consoleAddress')]: settings.consoleAddress,
    [variableOf('postgresUrl')]: endpoints.postgresUrl,
    [variableOf('redisUrl')]: endpoints.redisUrl,
    [variableOf('clickhouseUrl')]: endpoints.clickhouseUrl,
    [variableOf('workers')]: String(settings.workers),
    [variableOf('logLevel')]: settings.logLevel,
    [variableOf('metricsToken')]: settings.metricsToken ?? '',
    [variableOf('encryptionKey')]: encryptionKey,
    [variableOf('drainSeconds')]: String(settings.drainSeconds),
    [variableOf('leaseSeconds')]: String(settings.leaseSeconds),
    [variableOf('limitDomains')]: settings.limitDomains.join(','),
    [variableOf('envoyFeatures')]: settings.envoyFeatures,
    [variableOf('keyPrefix')]: settings.keyPrefix,
    [variableOf('adminToken')]: settings.adminToken ?? '',
  };
}

/** A worker needs no key that opens stored credentials. */
function workerEnvironment(options: UpOptions, childEnv: Environment): Environment {
  const encryptionKeys = childEnv[variableOf('encryptionKey')] ?? '';
  return {
    ...childEnv,
    [variableOf('encryptionKey')]: '',
    [variableOf('reasoningKey')]: options.settings.reasoningKey ?? options.reasoningKeys(encryptionKeys),
  };
}

/** What of the environment a foreign server needs: no credentials of ours or of providers. */
function plainEnvironment(environment: Environment): Environment {
  const { PATH, TMPDIR, TZ } = environment;
  return { PATH, TMPDIR, TZ, LANG: 'C', LC_ALL: 'C' };
}

/** The stores that the settings name no server for. */
function embeddedStores(options: UpOptions, childEnv: Environment): ChildDefinition[] {
  const { settings, root, main, environment } = options;
  const plain = plainEnvironment(environment);
  const stores: ChildDefinition[] = [];
  if (settings.redisUrl === undefined)
    stores.push(redisChild(findRedisServer(root, environment), settings, plain));
  if (settings.postgresUrl === undefined) stores.push(postgresChild(findPostgres(), settings, plain));
  if (settings.clickhouseUrl === undefined) {
    stores.push(
      nodeChild({
        name: 'clickhouse',
        command: [...main, 'clickhouse'],
        environment: childEnv,
        needs: [],
        graceMs: 15_000,
      }),
    );
  }
  return stores;
}

/** To write down what is left. */
const CHILD_GRACE_MS = 10_000;

/** All children of this installation, the stores first. */
function allChildren(options: UpOptions, endpoints: Endpoints, childEnv: Environment): ChildDefinition[] {
  const { settings, root, main, environment } = options;
  const stores = embeddedStores(options, childEnv);
  const needs = stores.map(({ name }) => name);
  const control = nodeChild({
    name: 'control',
    command: [...main, 'control'],
    environment: childEnv,
    needs,
    graceMs: CHILD_GRACE_MS,
  });
  // A worker that is restarted alone drains what it has begun; at the end Envoy has drained before it.
  const processors = Array.from({ length: settings.workers }, (_, index) =>
    nodeChild({
      name: `processor-${index}`,
      command: [...main, 'processor', '--index', String(index)],
      environment: workerEnvironment(options, childEnv),
      needs,
      graceMs: settings.drainSeconds * 1000 + CHILD_GRACE_MS,
    }),
  );
  const envoy = envoyChild({
    binary: findEnvoy(root, settings.envoy, environment),
    settings,
    endpoints,
    environment: plainEnvironment(environment),
    bootstrap: () => options.envoyBootstrap(endpoints),
    stopsBefore: ['control', ...processors.map(({ name }) => name)],
  });
  // Workers hand over what they still have to settle before the control plane, which writes it down, goes.
  return [...stores, control, ...processors.map((child) => ({ ...child, stopsBefore: ['control'] })), envoy];
}

/** Whoever an earlier start left behind is ended; folders are made, closed to others. */
async function prepareFolders(
  settings: Settings,
  board: Board,
): Promise<{ pidFiles: PidFiles; logs: string }> {
  makePrivateFolder(settings.run);
  const logs = join(settings.data, 'logs');
  makePrivateFolder(logs);
  const pids = join(settings.data, 'pids');
  const left = await sweepPidFiles(pids);
  if (left.length > 0) board.line(`  ended what an earlier start had left: ${left.join(', ')}`);
  return { pidFiles: new PidFiles(pids), logs };
}

/** By then an instance whose parent was killed has begun to stop. */
const STOP_BEGINS_WITHIN_MS = 1_000;
/** Beside its drain time, what an instance takes to stop. */
const STOP_TAKES_MS = 20_000;

/** Takes the data folder; waits for an instance that is on its way out, as after a start that was killed. */
async function lockOnceStopped(settings: Settings, board: Board): Promise<() => void> {
  const asked = Date.now();
  const isStopping = () =>
    readUpState(settings)?.children.some(({ state }) => state.startsWith('stop')) ?? false;
  for (let told = false; ;) {
    try {
      return lockDataFolder(settings.data);
    } catch (error) {
      const stopping = isStopping();
      const patience = stopping ? settings.drainSeconds * 1000 + STOP_TAKES_MS : STOP_BEGINS_WITHIN_MS;
      if (!(error instanceof StartError) || Date.now() - asked > patience) throw error;
      if (stopping && !told) board.line('  waiting for the instance before this one to stop');
      told ||= stopping;
    }
    await sleep(50);
  }
}

/**
 * Starts the whole of Limen on this machine and resolves once every part is ready.
 *
 * @throws StartError (one line for the person at the terminal, perhaps with a child's last words below it) where
 *   the data folder is in use, a port is taken, a binary is missing or a part does not come up
 */
export async function startAll(options: UpOptions): Promise<RunningSystem> {
  const { settings, terminal } = options;
  const board = new Board(terminal);
  makePrivateFolder(settings.data);
  const unlock = await lockOnceStopped(settings, board);
  try {
    const { pidFiles, logs } = await prepareFolders(settings, board);
    await requireFreePorts([
      wantedPort(settings.gatewayPort, settings.gatewayAddress, 'gatewayPort'),
      wantedPort(settings.consolePort, settings.consoleAddress, 'consolePort'),
    ]);
    const endpoints = endpointsOf(settings, await embeddedClickhouseUrl());
    const environment = childEnvironment(
      options,
      endpoints,
      settings.encryptionKey ?? installationKey(settings.data),
    );
    const releaseWatchdog = startWatchdog(pidFiles.folder);
    const publish = (): void => publishState(settings, endpoints, supervisor);
    const supervisor = new Supervisor({
      children: allChildren(options, endpoints, environment),
      pidFiles,
      logs,
      events: {
        onState: (child) => {
          board.state(child);
          publish();
        },
        onLine: (child, text) => board.line(`  ${child.name} | ${text}`),
      },
    });
    let stopping: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      const stopped = supervisor.stop(settings.drainSeconds);
      stopping ??= stopped.finally(() => {
        board.close();
        releaseWatchdog();
        pidFiles.close();
        removeUpState(settings);
        unlock();
      });
      return stopping;
    };
    board.open(supervisor.children);
    const giveUp = (): void => void stop();
    options.signal?.addEventListener('abort', giveUp);
    try {
      options.signal?.throwIfAborted();
      await supervisor.start();
    } catch (error) {
      await stop();
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', giveUp);
    }
    board.close();
    return { endpoints, environment, supervisor, stop };
  } catch (error) {
    board.close();
    unlock();
    throw error;
  }
}

function wantedPort(port: number, address: string, key: 'gatewayPort' | 'consolePort') {
  return { port, address, variable: variableOf(key), flag: flagOf(key) };
}

/** ClickHouse's HTTP interface needs a port; its password keeps this machine's other users out. */
async function embeddedClickhouseUrl(): Promise<string> {
  return `http://limen:${randomBytes(16).toString('hex')}@127.0.0.1:${await pickFreePort()}/default`;
}

function publishState(settings: Settings, endpoints: Endpoints, supervisor: Supervisor): void {
  const own = identify(process.pid);
  writeUpState(settings, {
    pid: process.pid,
    startedAt: own?.startedAt ?? '',
    endpoints: {
      ...endpoints,
      sockets: { ...endpoints.sockets, processors: [...endpoints.sockets.processors] },
    },
    children: supervisor.children.map(({ name, state, pid, restarts, lastExit }) => ({
      name,
      state,
      pid,
      restarts,
      lastExit,
    })),
  });
}

/** Signals this close together are one wish: Ctrl-C reaches this process from the terminal and from npm. */
const SAME_WISH_MS = 1_000;

/**
 * `limen up`: starts everything, runs until it is asked to end (Ctrl-C, SIGTERM, SIGHUP, or the end of whoever
 * started it), and stops everything. Asked again a second later, it stops draining.
 *
 * @param onStarted called once all is up: prints the address, makes the first key
 * @returns exit status for the process: 0, or 130 where it was stopped before it had started
 * @throws StartError as `startAll`; whatever `onStarted` throws, with everything stopped by then
 */
export async function runUp(
  options: UpOptions,
  onStarted: (system: RunningSystem) => Promise<void> | void,
): Promise<number> {
  const asked = new AbortController();
  const hurried = new AbortController();
  let firstAsked = 0;
  const onSignal = (): void => {
    if (!asked.signal.aborted) {
      firstAsked = Date.now();
      asked.abort();
    } else if (Date.now() - firstAsked > SAME_WISH_MS) hurried.abort();
  };
  for (const event of STOP_EVENTS) process.on(event, onSignal);
  try {
    const system = await startAll({ ...options, signal: asked.signal });
    hurried.signal.addEventListener('abort', () => void system.stop());
    try {
      await onStarted(system);
      if (!asked.signal.aborted) await once(asked.signal, 'abort');
      options.terminal.write('\n  stopping …\n');
    } finally {
      await system.stop();
    }
    return 0;
  } catch (error) {
    if (asked.signal.aborted) return 130;
    throw error;
  } finally {
    for (const event of STOP_EVENTS) process.removeListener(event, onSignal);
  }
}

const STOP_EVENTS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const;
