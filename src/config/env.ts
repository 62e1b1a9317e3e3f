import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { clusterOf } from '../core/cluster-address.ts';
import { endOfUnknown } from '../core/nearest.ts';
import { impliedProviders } from './environment/provider-variables.ts';

/** A setting that is wrong; `message` is one line that names it, its value and what is allowed. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

/** Environment variables by name: `process.env`, or a stand-in for it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Log levels, from the most to the least that is said. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

const text = z.string().min(1);
const port = z.coerce.number().int().min(1).max(65_535);
const strongSecret = text.refine((value) => value.length >= 32 && new Set(value).size >= 8);

function serverUrl(...protocols: string[]) {
  return text.refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol));
}

const redisUrl = text.refine(
  (value) => value.startsWith('/') || redisProtocol(value) || clusterOf(value) !== undefined,
);

function redisProtocol(value: string): boolean {
  return URL.canParse(value) && ['redis:', 'rediss:'].includes(new URL(value).protocol);
}

/** More slots than that need more than one installation. */
const MOST_DOMAINS = 64;

/** An address of this machine's own interfaces; names would need a resolver before anything runs. */
const address = z.union([z.ipv4(), z.ipv6()]);

/** What stands in one variable between commas. */
function list(item: z.ZodType<string, string>) {
  return z
    .string()
    .transform((value) => value.split(',').map((part) => part.trim()))
    .pipe(z.array(item));
}

/**
 * Every setting of an installation. The key gives both names: `gatewayPort` is LIMEN_GATEWAY_PORT and
 * `--gateway-port`. What is configuration rather than installation (providers, models, keys) lies in resources.
 */
const schema = z.object({
  config: text.optional(),
  data: text.default('.limen'),
  gatewayPort: port.default(3000),
  gatewayAddress: address.default('0.0.0.0'),
  consolePort: port.default(3001),
  consoleAddress: address.default('127.0.0.1'),
  postgresUrl: serverUrl('postgres:', 'postgresql:').optional(),
  redisUrl: redisUrl.optional(),
  clickhouseUrl: serverUrl('http:', 'https:').optional(),
  envoy: text.optional(),
  envoyFeatures: z.enum(['all', 'least']).default('all'),
  workers: z.coerce.number().int().min(1).max(256).default(availableParallelism()),
  logLevel: z.enum(LOG_LEVELS).default('info'),
  metricsToken: text.min(16).optional(),
  encryptionKey: strongSecret.optional(),
  reasoningKey: strongSecret.optional(),
  adminToken: strongSecret.optional(),
  adminUrl: serverUrl('http:', 'https:').optional(),
  keyPrefix: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$/)
    .default('tw-'),
  drainSeconds: z.coerce.number().min(0).max(3600).default(10),
  leaseSeconds: z.coerce.number().min(1).max(3600).default(120),
  defaultLimits: z.enum(['on', 'off']).default('on'),
  limitDomains: list(z.string().regex(/^[a-z0-9-]{1,40}$/))
    .refine((names) => names.length <= MOST_DOMAINS && new Set(names).size === names.length)
    .default(['default']),
  secretFolders: list(text).optional(),
  allowedFetchRanges: list(z.union([z.cidrv4(), z.cidrv6()])).default([]),
});

type SettingKey = keyof typeof schema.shape;

interface Description {
  /** What a good value looks like, for the message about a wrong one. */
  readonly allowed: string;
  readonly about: string;
  /** The value is never shown, not even in the message about a wrong one. */
  readonly secret?: true;
}

const aPort = 'a port from 1 to 65535';
const anAddress = 'an IP address of this machine, or 0.0.0.0 for all';

const DESCRIPTIONS: Readonly<Record<SettingKey, Description>> = {
  config: {
    allowed: 'a file or folder that exists',
    about: 'resources, one YAML file or a folder of them (default ./limen.yaml where it exists)',
  },
  data: { allowed: 'a folder', about: 'where everything is stored (default ./.limen)' },
  gatewayPort: { allowed: aPort, about: 'port of the gateway (default 3000)' },
  gatewayAddress: { allowed: anAddress, about: 'address the gateway listens on (default 0.0.0.0)' },
  consolePort: { allowed: aPort, about: 'port of console and admin API (default 3001)' },
  consoleAddress: {
    allowed: anAddress,
    about: 'address that console and admin API listen on (default 127.0.0.1)',
  },
  postgresUrl: {
    allowed: 'postgres://user:password@host:5432/database',
    about: 'Postgres to use instead of the embedded one',
    secret: true,
  },
  redisUrl: {
    allowed:
      'redis://host:6379, rediss://host:6379, redis+cluster://host:6379,host:6379 (rediss+cluster) or the path of a Unix socket',
    about: 'Redis to use instead of the embedded one',
    secret: true,
  },
  clickhouseUrl: {
    allowed: 'http://user:password@host:8123/database',
    about: 'ClickHouse to use instead of the embedded one',
    secret: true,
  },
  envoy: {
    allowed: 'the path of an Envoy binary',
    about: 'Envoy binary to use instead of the downloaded 1.40',
  },
  envoyFeatures: {
    allowed: 'all, least',
    about: 'what to use of Envoy: all of 1.40 (default), or the least that older ones have',
  },
  workers: {
    allowed: 'a whole number from 1 to 256',
    about: 'processor workers (default: one for each core)',
  },
  logLevel: { allowed: LOG_LEVELS.join(', '), about: 'least severe log lines to write (default info)' },
  metricsToken: {
    allowed: '16 characters or more',
    about: 'bearer token for /metrics, which answers 404 without one',
    secret: true,
  },
  encryptionKey: {
    allowed: '32 characters or more, of at least 8 different ones (openssl rand -hex 32)',
    about: 'key that seals stored credentials (default: made once and kept in the data folder)',
    secret: true,
  },
  reasoningKey: {
    allowed: '32 characters or more, of at least 8 different ones (openssl rand -hex 32)',
    about: 'key that workers seal reasoning for clients with (default: derived from the encryption key)',
    secret: true,
  },
  adminToken: {
    allowed: '32 characters or more, of at least 8 different ones (openssl rand -hex 32)',
    about: 'token of the admin API (default: made once and kept in the data folder)',
    secret: true,
  },
  adminUrl: {
    allowed: 'http://host:3001 or https://host',
    about: 'where the commands find the admin API (default: the console port of this machine)',
  },
  keyPrefix: {
    allowed: 'up to 16 letters, digits, dashes and underscores',
    about: 'what new virtual keys begin with (default tw-)',
  },
  drainSeconds: {
    allowed: 'seconds from 0 to 3600',
    about: 'how long open streams may go on once a stop was asked for (default 10)',
  },
  leaseSeconds: {
    allowed: 'seconds from 1 to 3600',
    about: 'how long an open request may go without a sign of life until its row is closed (default 120)',
  },
  defaultLimits: {
    allowed: 'on, off',
    about:
      'whether the built-in limits hold: 100 requests a minute of each user, 1000 of each address (default on)',
  },
  limitDomains: {
    allowed: 'up to 64 different names of small letters, digits and dashes, separated by commas: one,two',
    about:
      'limit domains, one hash tag of Redis each, among which tenants are divided; the same for all processes, which must be stopped before it is changed (default: default)',
  },
  secretFolders: {
    allowed: 'folders, separated by commas: /run/secrets,/etc/limen',
    about:
      'folders whose files a credential of the database may name; configuration files may name any. None may be in the data folder (default: the folder of the configuration, /run/secrets and /var/run/secrets)',
  },
  allowedFetchRanges: {
    allowed: 'address ranges, separated by commas: 10.0.0.0/8,127.0.0.1/32',
    about:
      'addresses that configured URLs (as the url of a Backend or the token_uri of a service account) may lead to although they are not public, over http too (default: none)',
  },
};

/** LIMEN_ variables that are not settings of an installation but of a single run or of the tests. */
const OTHER_VARIABLES = new Set(['LIMEN_API_KEY']);

/** All settings of this installation, checked; paths are absolute. */
export interface Settings extends Readonly<Omit<z.output<typeof schema>, 'secretFolders'>> {
  readonly secretFolders: readonly string[];
  /** Folder of Unix sockets: inside the data folder, unless that path is too long for a socket. */
  readonly run: string;
  /** Variables of the environment that imply a provider. */
  readonly providerVariables: readonly string[];
  /** Lines about variables that look like settings and are none. */
  readonly warnings: readonly string[];
}

function words(key: string): string[] {
  return key.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
}

/** Environment variable of a setting: `gatewayPort` → `LIMEN_GATEWAY_PORT`. */
export function variableOf(key: SettingKey): string {
  return `LIMEN_${words(key).join('_').toUpperCase()}`;
}

/** Command-line flag of a setting: `gatewayPort` → `--gateway-port`. */
export function flagOf(key: SettingKey): string {
  return `--${words(key).join('-')}`;
}

const SETTING_KEYS = schema.keyof().options;

/** Flag, variable and help text of every setting, for the command line's own help. */
export function settingFlags(): readonly {
  key: SettingKey;
  flag: string;
  variable: string;
  about: string;
}[] {
  return SETTING_KEYS.map((key) => ({
    key,
    flag: flagOf(key),
    variable: variableOf(key),
    about: DESCRIPTIONS[key].about,
  }));
}

/** The longest path that a Unix socket may have on every system, less room for the names put into the folder. */
const LONGEST_RUN_PATH = 103 - 'postgres/.s.PGSQL.5432'.length;

/** Where the Unix sockets of an installation lie: known from its data folder alone, so every process finds them. */
export function runFolder(data: string): string {
  const inside = join(data, 'run');
  if (Buffer.byteLength(inside) < LONGEST_RUN_PATH) return inside;
  return join(tmpdir(), `limen-${createHash('sha256').update(data).digest('hex').slice(0, 12)}`);
}

function unknownVariables(environment: Environment): string[] {
  const known = SETTING_KEYS.map(variableOf);
  return Object.keys(environment)
    .filter((name) => name.startsWith('LIMEN_') && !known.includes(name) && !OTHER_VARIABLES.has(name))
    .map((name) => `${name} is not a setting${endOfUnknown(name, known)}`);
}

function wrongSetting(key: SettingKey, value: string | undefined, fromFlag: boolean): SettingsError {
  const { allowed, secret } = DESCRIPTIONS[key];
  const shown = secret ? 'has a value that is not allowed' : `is ${JSON.stringify(value)}`;
  return new SettingsError(`${fromFlag ? flagOf(key) : variableOf(key)} ${shown}; allowed: ${allowed}.`);
}

/** Where Kubernetes and Docker mount secrets. */
const MOUNTED_SECRETS = ['/run/secrets', '/var/run/secrets'];

function folderOf(path: string): string {
  return statSync(path).isDirectory() ? path : dirname(path);
}

/**
 * Reads and checks every setting; a flag wins over its variable.
 *
 * @param environment usually `processEnvironment()`
 * @param flags values by setting key, as the command line gives them: `{ gatewayPort: '8080' }`
 * @throws SettingsError one line about the first setting that is wrong
 */
export function readSettings(environment: Environment, flags: Environment = {}): Settings {
  // An empty variable counts as unset, as in compose files that pass on what may not be there.
  const valueOf = (key: SettingKey) => flags[key] ?? (environment[variableOf(key)] || undefined);
  const wrong = (key: SettingKey) => wrongSetting(key, valueOf(key), flags[key] !== undefined);
  const result = schema.safeParse(Object.fromEntries(SETTING_KEYS.map((key) => [key, valueOf(key)])));
  if (!result.success) {
    const path = result.error.issues[0]?.path[0];
    throw wrong(SETTING_KEYS.find((key) => key === path) ?? 'data');
  }
  const values = result.data;
  if (values.config !== undefined && !existsSync(values.config)) throw wrong('config');
  if (values.gatewayPort === values.consolePort) {
    throw new SettingsError(
      `${variableOf('gatewayPort')} and ${variableOf('consolePort')} are both ${values.gatewayPort}; allowed: two different ports.`,
    );
  }
  const found = values.config ?? (existsSync('limen.yaml') ? 'limen.yaml' : undefined);
  const config = found === undefined ? undefined : resolve(found);
  const data = resolve(values.data);
  return {
    ...values,
    data,
    config,
    secretFolders: values.secretFolders?.map((folder) => resolve(folder)) ?? [
      ...(config === undefined ? [] : [folderOf(config)]),
      ...MOUNTED_SECRETS,
    ],
    run: runFolder(data),
    providerVariables: impliedProviders(environment).map(({ because }) => because),
    warnings: unknownVariables(environment),
  };
}

/** The environment of this process. Everything else gets what it needs handed to it. */
export function processEnvironment(): Environment {
  return process.env;
}
