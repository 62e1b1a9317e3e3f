import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KINDS } from '../resources/index.ts';
import { formatIssue } from './issue.ts';
import { loadConfig, parseResources } from './load.ts';
import { LARGEST_FILE_BYTES } from './read-files.ts';
import { YamlCache } from './yaml.ts';

const PROVIDER = `apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec:
  type: openai
  credential: {env: OPENAI_API_KEY}
`;

const MODEL = `apiVersion: limen.dev/v1alpha1
kind: Model
metadata: {name: fast}
spec:
  targets:
    - {provider: openai, model: gpt-4o-mini, priority: 0, weight: 9}
`;

function problems(text: string): string[] {
  return parseResources([{ file: 'limen.yaml', text }]).issues.map(formatIssue);
}

describe('parseResources', () => {
  it('reads several documents with defaults and where they stand', () => {
    const { resources, issues } = parseResources([
      { file: 'limen.yaml', text: `# first\n---\n${PROVIDER}---\n${MODEL}---\n` },
    ]);
    expect(issues).toEqual([]);
    expect(resources.map(({ resource, origin }) => [resource.kind, resource.metadata.name, origin])).toEqual([
      ['Provider', 'openai', { source: 'file', file: 'limen.yaml', line: 3 }],
      ['Model', 'fast', { source: 'file', file: 'limen.yaml', line: 10 }],
    ]);
    const provider = resources[0]?.resource;
    expect(provider?.kind === 'Provider' && provider.spec.connectTimeoutSeconds).toBe(5);
  });

  it.each([
    [
      'a number out of bounds',
      MODEL.replace('weight: 9', 'weight: 0'),
      'limen.yaml:6:67 spec.targets[0].weight: 0 is not allowed; at least 1',
    ],
    [
      'a wrong type',
      MODEL.replace('weight: 9', 'weight: heavy'),
      'limen.yaml:6:67 spec.targets[0].weight: "heavy" is not allowed; a number',
    ],
    [
      'an unknown field, with the nearest',
      MODEL.replace('priority: 0', 'prority: 0'),
      'limen.yaml:6:46 spec.targets[0].prority: is no field here; did you mean priority?',
    ],
    [
      'an enum',
      PROVIDER.replace('type: openai', 'type: opnai'),
      'limen.yaml:5:9 spec.type: "opnai" is not allowed; did you mean openai? Allowed: openai, azure-openai, openai-compatible, anthropic, gemini, vertex, bedrock',
    ],
    [
      'an unknown kind, with the nearest',
      PROVIDER.replace('kind: Provider', 'kind: Provder'),
      `limen.yaml:2:7 kind: "Provder" is no kind; did you mean Provider? Allowed: ${KINDS.join(', ')}`,
    ],
    [
      'a missing field',
      PROVIDER.replace('  type: openai\n', ''),
      'limen.yaml:4:1 spec.type: is missing; one of openai, azure-openai, openai-compatible, anthropic, gemini, vertex, bedrock',
    ],
    [
      'a missing kind',
      PROVIDER.replace('kind: Provider\n', ''),
      `limen.yaml:1:1 kind: is missing; one of ${KINDS.join(', ')}`,
    ],
    [
      'a wrong API version',
      PROVIDER.replace('v1alpha1', 'v1'),
      'limen.yaml:1:13 apiVersion: "limen.dev/v1" is not allowed; only limen.dev/v1alpha1',
    ],
    [
      'a bad name',
      PROVIDER.replace('{name: openai}', '{name: Open AI}'),
      'limen.yaml:3:18 metadata.name: "Open AI" is not allowed; lower-case letters, digits, dots, dashes and underscores, starting and ending with a letter or digit',
    ],
    [
      'no object at all',
      '- just\n- a list\n',
      `limen.yaml:1:1: a list is no resource; an object with apiVersion: limen.dev/v1alpha1, kind, metadata and spec`,
    ],
    [
      'an empty list',
      'apiVersion: limen.dev/v1alpha1\nkind: Model\nmetadata: {name: fast}\nspec: {targets: []}\n',
      'limen.yaml:4:17 spec.targets: an empty list is not allowed; at least 1 entry',
    ],
    [
      'a URL that is none',
      `${PROVIDER}  baseUrl: api.openai.com\n`,
      'limen.yaml:7:12 spec.baseUrl: "api.openai.com" is not allowed; an http or https URL',
    ],
    [
      'a type that needs a URL',
      PROVIDER.replace('type: openai', 'type: openai-compatible'),
      'limen.yaml:4:1 spec.baseUrl: is missing; type openai-compatible needs a URL such as http://127.0.0.1:8000/v1',
    ],
    [
      'a range of addresses',
      'apiVersion: limen.dev/v1alpha1\nkind: Gateway\nmetadata: {name: default}\nspec: {trust: {internalRanges: [10.0.0.0]}}\n',
      'limen.yaml:4:33 spec.trust.internalRanges[0]: "10.0.0.0" is not allowed; an address range such as 10.0.0.0/8 or fd00::/8',
    ],
  ])('says what is wrong: %s', (_, text, expected) => {
    expect(problems(text)).toEqual([expected]);
  });

  it.each([
    [
      'a value where an object belongs',
      'credential: sk-live-0123456789abcdef',
      'exactly one of env, file and value',
    ],
    [
      'two sources',
      'credential: {env: A, value: sk-live-0123456789abcdef}',
      'exactly one of env, file and value',
    ],
    ['a number', 'credential: {value: 123456789012}', 'text'],
    [
      'a credential as the name of a variable',
      'credential: {env: sk-live-0123456789abcdef}',
      'the name of an environment variable',
    ],
    ['a setting of Limen', 'credential: {env: LIMEN_ENCRYPTION_KEY}', 'none of Limen’s own'],
    ['a password in a URL', 'baseUrl: "ftp://me:sk-live-0123456789abcdef@host/v1"', 'an http or https URL'],
    ['broken YAML around it', 'credential: {value: "sk-live-0123456789abcdef', 'not valid YAML'],
    ['a stray quote', 'credential: {value: "sk-live-0123456789abcdef"extra}', 'not valid YAML'],
    ['a field that does not exist', 'apiKey: sk-live-0123456789abcdef', 'is no field here'],
  ])('never shows a secret: %s', (_, line, expected) => {
    const found = problems(PROVIDER.replace('credential: {env: OPENAI_API_KEY}', line)).join('\n');
    expect(found).toContain(expected);
    expect(found).not.toContain('0123456789');
  });

  it('reports everything of all files at once, in reading order', () => {
    const { issues, resources, invalid } = parseResources([
      { file: 'b.yaml', text: `${PROVIDER}---\n${MODEL.replace('weight: 9', 'weight: 0, extra: 1')}` },
      { file: 'a.yaml', text: `${PROVIDER}---\nkind: [\n` },
    ]);
    expect(issues.map(formatIssue)).toEqual([
      'a.yaml:3:18 metadata.name: Provider/openai is already declared at b.yaml:1',
      'a.yaml:9:1: not valid YAML: an indentation that does not fit; align the fields of one object',
      'b.yaml:13:67 spec.targets[0].weight: 0 is not allowed; at least 1',
      'b.yaml:13:70 spec.targets[0].extra: is no field here; allowed: provider, model, priority, weight, price',
    ]);
    expect(resources.map(({ resource }) => resource.kind)).toEqual(['Provider']);
    expect(invalid).toEqual(new Set(['Model/fast']));
  });

  it('follows aliases, and refuses bombs of them', () => {
    const shared = `${PROVIDER}  tls: &tls {serverName: a.example}\n`;
    expect(problems(shared)).toEqual([]);
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      ...'bcdefgh'
        .split('')
        .map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdefg'[index]}`).join(',')}]`),
    ].join('\n');
    expect(problems(bomb)).toEqual([
      'limen.yaml:1:1: not valid YAML: aliases that expand to more than 100 copies',
    ]);
  });

  it('survives an alias inside its own anchor', () => {
    expect(problems('a: &a {b: *a}\n')).toEqual([
      `limen.yaml:1:1 kind: is missing; one of ${KINDS.join(', ')}`,
    ]);
  });

  it('parses again only what was edited, to the same result', () => {
    const cache = new YamlCache();
    const text = [PROVIDER, MODEL, MODEL.replace('name: fast', 'name: slow')].join('---\n');
    const first = parseResources([{ file: 'limen.yaml', text }], cache);
    expect(parseResources([{ file: 'limen.yaml', text }], cache)).toEqual(first);
    const edited = `# moved down\n${text.replace('weight: 9', 'weight: 0')}`;
    expect(parseResources([{ file: 'limen.yaml', text: edited }], cache)).toEqual(
      parseResources([{ file: 'limen.yaml', text: edited }]),
    );
    let parsed = 0;
    cache.get('another text', () => {
      parsed += 1;
      return { documents: [], issues: [] };
    });
    cache.rotate();
    cache.rotate();
    cache.get('another text', () => {
      parsed += 1;
      return { documents: [], issues: [] };
    });
    expect(parsed).toBe(2);
  });

  it.each([
    ['markers with content', `--- # one\n${PROVIDER}--- # two\n${MODEL}`],
    ['Windows line ends', `${PROVIDER}---\n${MODEL}`.replaceAll('\n', '\r\n')],
    ['directives and end markers', `%YAML 1.2\n---\n${PROVIDER}...\n---\n${MODEL}...\n`],
    ['dashes inside of values', `${PROVIDER}---\n${MODEL}# a comment with ---\n#---\n`],
  ])('cuts a stream at its markers: %s', (_, text) => {
    const { resources, issues } = parseResources([{ file: 'limen.yaml', text }]);
    expect(issues.map(formatIssue)).toEqual([]);
    expect(
      resources.map(({ resource, origin }) => [
        resource.kind,
        origin.source === 'file' && text.split('\n')[origin.line - 1]?.trim(),
      ]),
    ).toEqual([
      ['Provider', 'apiVersion: limen.dev/v1alpha1'],
      ['Model', 'apiVersion: limen.dev/v1alpha1'],
    ]);
  });

  it('refuses a nesting that would exhaust the stack', () => {
    const [only] = problems('['.repeat(100_000));
    expect(only).toContain('not valid YAML');
  });

  it('knows a field named like a member of every object', () => {
    expect(problems(`${PROVIDER}  constructor: 1\n  __proto__: {type: x}\n`)).toEqual([
      expect.stringContaining('spec.constructor: is no field here'),
      expect.stringContaining('spec.__proto__: is no field here'),
    ]);
  });
});

describe('loadConfig', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'limen-load-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('reads a single file, whatever its name', async () => {
    await writeFile(join(folder, 'config.conf'), PROVIDER);
    const result = await loadConfig(join(folder, 'config.conf'));
    expect(result.issues).toEqual([]);
    expect(result.resources).toHaveLength(1);
  });

  it('reads the YAML files of a folder by name, and nothing else', async () => {
    await mkdir(join(folder, 'deeper.yaml'));
    await rm(join(folder, 'deeper.yaml'), { recursive: true });
    await writeFile(join(folder, '20-models.yml'), MODEL);
    await writeFile(join(folder, '10-providers.yaml'), PROVIDER);
    await writeFile(join(folder, '.hidden.yaml'), 'kind: [');
    await writeFile(join(folder, 'notes.txt'), 'kind: [');
    const result = await loadConfig(folder);
    expect(result.issues).toEqual([]);
    expect(result.resources.map(({ resource }) => resource.kind)).toEqual(['Provider', 'Model']);
  });

  it('tells what it cannot read', async () => {
    await mkdir(join(folder, 'folder.yaml'));
    await writeFile(join(folder, 'binary.yaml'), Buffer.from([0xff, 0xfe, 0xfd]));
    await writeFile(join(folder, 'huge.yaml'), Buffer.alloc(LARGEST_FILE_BYTES + 1, 0x20));
    const messages = (await loadConfig(folder)).issues.map(
      ({ file, message }) => `${file?.split('/').pop()} ${message}`,
    );
    expect(messages.sort()).toEqual([
      'binary.yaml is not UTF-8 text',
      'folder.yaml cannot be read (not a file)',
      'huge.yaml is too large',
    ]);
    expect((await loadConfig(join(folder, 'absent.yaml'))).issues[0]?.message).toBe(
      'cannot be read (ENOENT)',
    );
  });

  it('changes its fingerprint with content and names alone', async () => {
    const file = join(folder, 'limen.yaml');
    await writeFile(file, PROVIDER);
    const before = await loadConfig(file);
    await writeFile(file, PROVIDER);
    expect((await loadConfig(file)).fingerprint).toBe(before.fingerprint);
    await writeFile(file, `${PROVIDER}#\n`);
    expect((await loadConfig(file)).fingerprint).not.toBe(before.fingerprint);
  });
});
