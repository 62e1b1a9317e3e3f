import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { flagOf, readSettings, runFolder, settingFlags, SettingsError, variableOf } from './env.ts';

function messageOf(environment: Record<string, string>, flags: Record<string, string> = {}): string {
  try {
    readSettings(environment, flags);
  } catch (error) {
    if (error instanceof SettingsError) return error.message;
    throw error;
  }
  throw new Error('these settings were taken as good');
}

describe('readSettings', () => {
  it('has a default for everything', () => {
    const settings = readSettings({});
    expect(settings).toMatchObject({
      gatewayPort: 3000,
      consolePort: 3001,
      gatewayAddress: '0.0.0.0',
      consoleAddress: '127.0.0.1',
      logLevel: 'info',
      keyPrefix: 'tw-',
      drainSeconds: 10,
      warnings: [],
      providerVariables: [],
    });
    expect(settings.workers).toBeGreaterThan(0);
    expect(settings.data).toBe(join(process.cwd(), '.limen'));
    expect(settings.run).toBe(runFolder(settings.data));
  });

  it('takes variables, and flags before variables', () => {
    const environment = { LIMEN_GATEWAY_PORT: '8080', LIMEN_WORKERS: '3', LIMEN_DATA: '/var/lib/limen' };
    expect(readSettings(environment)).toMatchObject({
      gatewayPort: 8080,
      workers: 3,
      data: '/var/lib/limen',
    });
    expect(readSettings(environment, { gatewayPort: '9090' }).gatewayPort).toBe(9090);
  });

  it('takes an empty variable as unset', () => {
    expect(readSettings({ LIMEN_REDIS_URL: '', LIMEN_GATEWAY_PORT: '' })).toMatchObject({
      gatewayPort: 3000,
    });
  });

  it.each([
    ['LIMEN_GATEWAY_PORT', 'http', 'LIMEN_GATEWAY_PORT is "http"; allowed: a port from 1 to 65535.'],
    ['LIMEN_GATEWAY_PORT', '70000', 'LIMEN_GATEWAY_PORT is "70000"; allowed: a port from 1 to 65535.'],
    ['LIMEN_WORKERS', '0', 'LIMEN_WORKERS is "0"; allowed: a whole number from 1 to 256.'],
    [
      'LIMEN_LOG_LEVEL',
      'loud',
      'LIMEN_LOG_LEVEL is "loud"; allowed: trace, debug, info, warn, error, silent.',
    ],
    [
      'LIMEN_CONSOLE_ADDRESS',
      'localhost',
      'LIMEN_CONSOLE_ADDRESS is "localhost"; allowed: an IP address of this machine, or 0.0.0.0 for all.',
    ],
    [
      'LIMEN_CONFIG',
      '/does/not/exist.yaml',
      'LIMEN_CONFIG is "/does/not/exist.yaml"; allowed: a file or folder that exists.',
    ],
  ])('says in one line what is wrong with %s=%s', (name, value, message) => {
    expect(messageOf({ [name]: value })).toBe(message);
  });

  it('has the built-in limits unless they are off', () => {
    expect(readSettings({}).defaultLimits).toBe('on');
    expect(readSettings({ LIMEN_DEFAULT_LIMITS: 'off' }).defaultLimits).toBe('off');
    expect(messageOf({ LIMEN_DEFAULT_LIMITS: 'no' })).toBe('LIMEN_DEFAULT_LIMITS is "no"; allowed: on, off.');
  });

  it('has one limit domain unless several are named, each once', () => {
    expect(readSettings({}).limitDomains).toEqual(['default']);
    expect(readSettings({ LIMEN_LIMIT_DOMAINS: 'one, two-2' }).limitDomains).toEqual(['one', 'two-2']);
    for (const wrong of ['one,one', 'One', 'a b', 'a,', 'a}']) {
      expect(messageOf({ LIMEN_LIMIT_DOMAINS: wrong })).toContain('LIMEN_LIMIT_DOMAINS is');
    }
  });

  it('takes nodes of a Redis Cluster', () => {
    const url = 'rediss+cluster://limen:s3cret@one:7000,two';
    expect(readSettings({ LIMEN_REDIS_URL: url }).redisUrl).toBe(url);
    expect(messageOf({ LIMEN_REDIS_URL: 'redis+cluster://one:7000/1,two' })).toContain('LIMEN_REDIS_URL');
  });

  it('names the flag where the flag is wrong', () => {
    expect(messageOf({}, { gatewayPort: 'x' })).toBe(
      '--gateway-port is "x"; allowed: a port from 1 to 65535.',
    );
  });

  it('refuses the same port twice', () => {
    expect(messageOf({ LIMEN_GATEWAY_PORT: '3001' })).toContain('are both 3001');
  });

  it('never shows a secret', () => {
    const wrong = {
      LIMEN_ENCRYPTION_KEY: 'hunter2',
      LIMEN_METRICS_TOKEN: 'hunter2',
      LIMEN_REDIS_URL: 'http://:hunter2@host',
      LIMEN_POSTGRES_URL: 'mysql://root:hunter2@host/db',
    };
    for (const [name, value] of Object.entries(wrong)) {
      const message = messageOf({ [name]: value });
      expect(message).toContain(name);
      expect(message).not.toContain('hunter2');
    }
  });

  it('refuses a long but repetitive encryption key', () => {
    expect(messageOf({ LIMEN_ENCRYPTION_KEY: 'ab'.repeat(32) })).toContain('LIMEN_ENCRYPTION_KEY');
    expect(readSettings({ LIMEN_ENCRYPTION_KEY: '0123456789abcdef'.repeat(4) }).encryptionKey).toHaveLength(
      64,
    );
  });

  it('takes a socket path or a redis address', () => {
    expect(readSettings({ LIMEN_REDIS_URL: '/run/redis.sock' }).redisUrl).toBe('/run/redis.sock');
    expect(readSettings({ LIMEN_REDIS_URL: 'rediss://host:6380' }).redisUrl).toBe('rediss://host:6380');
  });

  it('warns about a variable that is none, with the nearest name', () => {
    expect(readSettings({ LIMEN_GATEWAY_PROT: '1', LIMENADE: '1' }).warnings).toEqual([
      'LIMEN_GATEWAY_PROT is not a setting; did you mean LIMEN_GATEWAY_PORT?',
    ]);
  });

  it('tells which provider keys the environment has, not what they are', () => {
    const settings = readSettings({ OPENAI_API_KEY: 'sk-secret', ANTHROPIC_API_KEY: '' });
    expect(settings.providerVariables).toEqual(['OPENAI_API_KEY']);
    expect(JSON.stringify(settings)).not.toContain('sk-secret');
  });

  it('takes an absolute path of a config file that exists', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'limen-env-')), 'limen.yaml');
    writeFileSync(file, '');
    expect(readSettings({ LIMEN_CONFIG: file }).config).toBe(file);
    rmSync(dirname(file), { recursive: true });
  });

  it('lets credentials of the database lie beside the configuration and where secrets are mounted', () => {
    const folder = mkdtempSync(join(tmpdir(), 'limen-env-'));
    const file = join(folder, 'limen.yaml');
    writeFileSync(file, '');
    const mounted = ['/run/secrets', '/var/run/secrets'];
    expect(readSettings({ LIMEN_CONFIG: file }).secretFolders).toEqual([folder, ...mounted]);
    expect(readSettings({ LIMEN_CONFIG: folder }).secretFolders).toEqual([folder, ...mounted]);
    expect(readSettings({ LIMEN_SECRET_FOLDERS: '/etc/limen, keys' }).secretFolders).toEqual([
      '/etc/limen',
      join(process.cwd(), 'keys'),
    ]);
    rmSync(folder, { recursive: true });
  });

  it('takes address ranges and nothing else for those that may be fetched from', () => {
    expect(readSettings({}).allowedFetchRanges).toEqual([]);
    const LIMEN_ALLOWED_FETCH_RANGES = '10.0.0.0/8, fd00::/8';
    expect(readSettings({ LIMEN_ALLOWED_FETCH_RANGES }).allowedFetchRanges).toEqual([
      '10.0.0.0/8',
      'fd00::/8',
    ]);
    expect(messageOf({ LIMEN_ALLOWED_FETCH_RANGES: '10.0.0.0/8,all' })).toContain('address ranges');
  });
});

describe('names of settings', () => {
  it('derives variable and flag from the key', () => {
    expect(variableOf('clickhouseUrl')).toBe('LIMEN_CLICKHOUSE_URL');
    expect(flagOf('drainSeconds')).toBe('--drain-seconds');
    expect(settingFlags().map(({ flag }) => flag)).toContain('--gateway-port');
  });
});

describe('runFolder', () => {
  it('stays short enough for a socket, and is the same for the same data folder', () => {
    expect(runFolder('/srv/limen')).toBe('/srv/limen/run');
    const deep = `/srv/${'deep/'.repeat(30)}limen`;
    expect(runFolder(deep).length).toBeLessThan(90);
    expect(runFolder(deep)).toBe(runFolder(deep));
    expect(runFolder(deep)).not.toBe(runFolder(`${deep}2`));
  });
});
