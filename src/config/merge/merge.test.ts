import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../environment/implied-resources.ts';
import { formatIssue } from '../load/issue.ts';
import { parseResources } from '../load/load.ts';
import { mergeSources, type ConfigSources } from './merge.ts';
import { resourceId, type Origin, type SourcedResource } from '../origin.ts';

function provider(name: string, spec = 'type: openai'): string {
  return `apiVersion: limen.dev/v1alpha1\nkind: Provider\nmetadata: {name: ${name}}\nspec: {${spec}}\n`;
}

function model(name: string, target: string, more = ''): string {
  return `apiVersion: limen.dev/v1alpha1\nkind: Model\nmetadata: {name: ${name}}\nspec: {targets: [{provider: ${target}}]${more}}\n`;
}

function gateway(name: string): string {
  return `apiVersion: limen.dev/v1alpha1\nkind: Gateway\nmetadata: {name: ${name}}\nspec: {}\n`;
}

function file(...documents: string[]): SourcedResource[] {
  const { resources, issues } = parseResources([{ file: 'limen.yaml', text: documents.join('---\n') }]);
  expect(issues).toEqual([]);
  return [...resources];
}

function from(origin: Origin, ...documents: string[]): SourcedResource[] {
  return file(...documents).map(({ resource }) => ({ resource, origin }));
}

const database: Origin = { source: 'database', generation: 1 };
const environment: Origin = { source: 'environment', because: 'OPENAI_API_KEY' };
const builtIn: Origin = { source: 'built-in', because: 'demo' };

function merge(sources: Partial<ConfigSources>) {
  const merged = mergeSources({ file: [], database: [], environment: [], builtIn: [], ...sources });
  return {
    ids: merged.resources.map(({ resource, origin }) => `${resourceId(resource)} ${origin.source}`),
    issues: merged.issues.map(formatIssue),
    warnings: merged.warnings.map(formatIssue),
  };
}

describe('mergeSources', () => {
  it('puts the file before the database, and both before the environment', () => {
    expect(
      merge({
        file: file(provider('openai')),
        database: from(database, provider('openai'), provider('anthropic', 'type: anthropic')),
        environment: from(environment, provider('openai'), provider('anthropic'), provider('gemini')),
      }),
    ).toEqual({
      ids: ['Provider/openai file', 'Provider/anthropic database', 'Provider/gemini environment'],
      issues: [],
      warnings: ['Provider/openai: is not in force: limen.yaml:1 declares it too'],
    });
  });

  it('has the demo only where there is no other Provider', () => {
    const demo = from(builtIn, provider('demo'), model('demo', 'demo'));
    expect(merge({ builtIn: demo }).ids).toEqual(['Provider/demo built-in', 'Model/demo built-in']);
    expect(merge({ builtIn: demo, file: file(gateway('default')) }).ids).toContain('Provider/demo built-in');
    expect(merge({ builtIn: demo, database: from(database, provider('own')) }).ids).toEqual([
      'Provider/own database',
    ]);
  });

  describe('limits', () => {
    const policy = (name: string, match: string) =>
      `apiVersion: limen.dev/v1alpha1\nkind: LimitPolicy\nmetadata: {name: ${name}}\nspec: {per: user, requests: 1, window: 1m, match: {${match}}}\n`;

    it('stay in force where they name what is nowhere, which is told', () => {
      const merged = merge({
        file: file(
          provider('openai'),
          model('fast', 'openai'),
          policy('a', 'providers: [openia, "open*", openai], models: [fast, gpt-5, fasst]'),
        ),
        database: from(database, policy('b', 'providers: [gone]')),
      });
      expect(merged.ids).toEqual(expect.arrayContaining(['LimitPolicy/a file', 'LimitPolicy/b database']));
      expect(merged.issues).toEqual([
        'limen.yaml:14:64 spec.match.providers[0]: "openia" is no Provider; did you mean openai?',
        'limen.yaml:14:112 spec.match.models[2]: "fasst" is no Model; did you mean fast?',
      ]);
      expect(merged.warnings).toEqual([
        'LimitPolicy/b spec.match.providers[0]: "gone" is no Provider; the name of a Provider, or a pattern with *',
      ]);
    });

    it('that are built in give way in silence to others of their name, and hold beside a provider', () => {
      const own = policy('default-user-requests', 'users: [ada]');
      const merged = merge({ file: file(provider('openai'), own), environment: defaultLimits() });
      expect(merged).toMatchObject({ issues: [], warnings: [] });
      expect(merged.ids.filter((id) => id.startsWith('LimitPolicy'))).toEqual([
        'LimitPolicy/default-user-requests file',
        'LimitPolicy/default-address-requests built-in',
      ]);
    });
  });

  it('finds roles that are not there, and leaves in force what names them', () => {
    const resource = (kind: string, name: string, spec: string) =>
      `apiVersion: limen.dev/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\nspec: {${spec}}\n`;
    const issuer = 'issuer: "https://corp.example", audiences: [a], jwksUri: "https://corp.example/k"';
    const merged = merge({
      file: file(
        provider('openai'),
        resource('Role', 'writer', 'permissions: [models:use]'),
        resource('Team', 'core', 'roles: [writer, developer, writter]'),
        resource('Gateway', 'default', 'access: {keyRoles: [nobody-at-all]}'),
        model('fast', 'openai', ', access: {roles: [admin, develper]}'),
        resource('IdentityProvider', 'corp', `${issuer}, defaultRoles: [x1], roleMapping: {boss: [admn]}`),
      ),
      database: from(database, resource('Team', 'stored', 'roles: [gone]')),
    });
    expect(merged.issues.map((issue) => issue.replace(/; one of .*|^limen.yaml:\d+:\d+ /g, ''))).toEqual([
      'spec.roles[2]: "writter" is no Role; did you mean writer?',
      'spec.access.keyRoles[0]: "nobody-at-all" is no Role',
      'spec.access.roles[1]: "develper" is no Role; did you mean developer?',
      'spec.defaultRoles[0]: "x1" is no Role',
      'spec.roleMapping.boss[0]: "admn" is no Role; did you mean admin?',
    ]);
    expect(merged.warnings).toEqual([
      'Team/stored spec.roles[0]: "gone" is no Role; one of super-admin, admin, team-manager, developer, viewer, writer',
    ]);
    expect(merged.ids).toContain('Team/stored database');
  });

  it('finds references to providers that are not there', () => {
    expect(
      merge({
        file: file(provider('openai'), model('fast', 'opneai'), model('slow', 'nowhere-near')),
        database: from(database, model('stored', 'gone')),
        environment: from(environment, model('gpt', 'gone')),
      }),
    ).toEqual({
      ids: ['Provider/openai file'],
      issues: [
        'limen.yaml:9:29 spec.targets[0].provider: "opneai" is no Provider; did you mean openai?',
        'limen.yaml:14:29 spec.targets[0].provider: "nowhere-near" is no Provider; one of openai',
      ],
      warnings: ['Model/stored spec.targets[0].provider: "gone" is no Provider; one of openai'],
    });
  });

  it('says nothing about references to a provider that is declared wrongly', () => {
    expect(
      merge({ file: file(model('fast', 'broken')), invalid: new Set(['Provider/broken']) }).issues,
    ).toEqual([]);
  });

  it('refuses names that two models claim, wherever they stand', () => {
    const { issues } = merge({
      file: file(
        provider('openai'),
        model('fast', 'openai', ', aliases: [quick, slow]'),
        model('slow', 'openai', ', aliases: [quick]'),
        model('twice', 'openai', ', aliases: [same, same]'),
      ),
    });
    expect(issues).toEqual([
      'limen.yaml:9:56 spec.aliases[1]: "slow" is taken by Model/slow (limen.yaml:11)',
      'limen.yaml:14:49 spec.aliases[0]: "quick" is taken by Model/fast (limen.yaml:6)',
      'limen.yaml:19:55 spec.aliases[1]: "same" is taken by Model/twice (limen.yaml:16)',
    ]);
  });

  it('lets an alias of the file win over a model of another source', () => {
    expect(
      merge({
        file: file(provider('openai'), model('fast', 'openai', ', aliases: [gpt-4o, stored]')),
        database: from(database, model('stored', 'openai')),
        environment: from(environment, model('gpt-4o', 'openai')),
      }),
    ).toEqual({
      ids: ['Provider/openai file', 'Model/fast file'],
      issues: [],
      warnings: ['Model/stored metadata.name: "stored" is taken by Model/fast (limen.yaml:6)'],
    });
  });

  it('allows one Gateway', () => {
    expect(
      merge({ file: file(gateway('one'), gateway('two')), database: from(database, gateway('three')) }),
    ).toEqual({
      ids: ['Gateway/one file'],
      issues: [
        'limen.yaml:8:18 metadata.name: "two" is a second Gateway; one stands at limen.yaml:1; only one in all sources',
      ],
      warnings: [
        'Gateway/three metadata.name: "three" is a second Gateway; one stands at limen.yaml:1; only one in all sources',
      ],
    });
  });

  it('refuses a prefix that two providers claim', () => {
    expect(
      merge({
        file: file(
          provider('one', 'type: openai, modelPrefixes: [gpt-]'),
          provider('two', 'type: openai, modelPrefixes: [x-, gpt-]'),
        ),
      }).issues,
    ).toEqual(['limen.yaml:9:42 spec.modelPrefixes[1]: "gpt-" is taken by Provider/one (limen.yaml:1)']);
  });

  it('keeps well-known models with a declared provider only if that stands for the same service', () => {
    const implied = from(environment, provider('openai'), model('gpt-4o', 'openai'));
    const withFile = (spec: string) =>
      merge({ file: file(provider('openai', spec)), environment: implied }).ids;
    expect(withFile('type: openai')).toEqual(['Provider/openai file', 'Model/gpt-4o environment']);
    expect(withFile('type: openai, modelPrefixes: []')).toEqual(['Provider/openai file']);
    expect(withFile('type: openai-compatible, baseUrl: "http://127.0.0.1:1/v1"')).toEqual([
      'Provider/openai file',
    ]);
  });

  it('lets the database name files of the secret folders alone, and the configuration any', () => {
    const secretFolders = ['/run/secrets', '/etc/limen'];
    const keyIn = (path: string) => `type: openai, credential: {file: '${path}'}`;
    const promoting = (name: string, clientSecret: string, webhookSecret: string) =>
      `apiVersion: limen.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {name: ${name}}\nspec: {issuer: 'https://${name}.example.com', audiences: [limen], clientPromotion: {type: auth0, clientId: a, callbacks: ['https://chatgpt.com/*'], clientSecret: ${clientSecret}, webhookSecret: ${webhookSecret}}}\n`;
    const aws = 'type: bedrock, region: us-east-1, credential: {accessKeyId: {env: A}, secretAccessKey: ';
    const merged = merge({
      secretFolders,
      file: file(provider('mounted', keyIn('/srv/key'))),
      database: from(
        database,
        provider('good', keyIn('/run/secrets/openai')),
        provider('system', keyIn('/etc/shadow')),
        provider('climbing', keyIn('/run/secrets/../../etc/shadow')),
        provider('beside', keyIn('/run/secrets-of-others/key')),
        provider('part', `${aws}{file: /etc/shadow}}`),
        provider('tenant', 'type: openai, tenants: {acme: {credential: {file: /etc/shadow}}}'),
        promoting('client', '{file: /etc/shadow}', '{env: A}'),
        promoting('webhook', '{env: A}', '{file: /etc/shadow}'),
      ),
    });
    expect(merged.ids).toEqual(['Provider/mounted file', 'Provider/good database']);
    expect(merged.warnings).toHaveLength(7);
    expect(merged.warnings).toContain(
      'Provider/tenant spec.tenants.acme.credential.file: "/etc/shadow" is not where secrets may lie; a file in /run/secrets, /etc/limen',
    );
    expect(merged.warnings).toContain(
      'Provider/part spec.credential.secretAccessKey.file: "/etc/shadow" is not where secrets may lie; a file in /run/secrets, /etc/limen',
    );
  });
});

describe('the issuer of an identity provider', () => {
  const own = (enabled: boolean) =>
    `apiVersion: limen.dev/v1alpha1\nkind: Gateway\nmetadata: {name: default}\nspec: {access: {publicUrl: 'https://ai.example.com'}, crossAppAccess: {enabled: ${enabled}}}\n`;
  const issuer = (name: string, url: string) =>
    `apiVersion: limen.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {name: ${name}}\nspec: {issuer: '${url}', audiences: [limen]}\n`;

  it('is never the gateway that issues tokens itself', () => {
    const { ids, warnings } = merge({
      file: file(own(true)),
      database: from(
        database,
        issuer('same', 'https://ai.example.com'),
        issuer('slash', 'https://ai.example.com/'),
        issuer('corp', 'https://corp.example.com'),
      ),
    });
    expect(ids.filter((id) => id.startsWith('Identity'))).toEqual(['IdentityProvider/corp database']);
    expect(warnings.filter((warning) => warning.includes('is the gateway itself'))).toHaveLength(2);
    const without = merge({
      file: file(own(false)),
      database: from(database, issuer('same', 'https://ai.example.com')),
    });
    expect(without.warnings).toEqual([]);
  });

  describe('that maps what another one maps too', () => {
    const mapping = (name: string, claims: string, bounds = '') =>
      `apiVersion: limen.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {name: ${name}}\nspec: {issuer: 'https://${name}.example.com', audiences: [limen], claims: {${claims}}${bounds}}\n`;
    const fieldsOf = (...documents: string[]) =>
      merge({ file: file(...documents) }).issues.map((issue) => /spec\.claims\.\w+/.exec(issue)?.[0]);

    it.each([
      ['groups', 'groups: g', ['groupPrefix: "a:"', 'groupPrefix: ""', 'allowedGroups: [x]']],
      ['team', 'team: t', ['allowedTeams: ["*"]']],
      ['tenant', 'tenant: o.id', ['allowedTenants: []', 'allowedTenants: [x]']],
    ])('must say which %s its tokens may name', (claim, claims, bounds) => {
      const path = `spec.claims.${claim}`;
      expect(fieldsOf(mapping('a', claims), mapping('b', claims))).toEqual([path, path]);
      for (const bound of bounds) {
        expect(fieldsOf(mapping('a', claims, `, ${bound}`), mapping('b', claims))).toEqual([path]);
        expect(fieldsOf(mapping('a', claims, `, ${bound}`), mapping('b', claims, `, ${bound}`))).toEqual([]);
      }
      expect(fieldsOf(mapping('a', claims))).toEqual([]);
      expect(fieldsOf(mapping('a', claims), mapping('b', 'name: n'))).toEqual([]);
      expect(fieldsOf(mapping('a', claims), mapping('b', claims, ', enabled: false'))).toEqual([]);
    });

    it('is not in force until it does, where the database has it', () => {
      const { ids, issues, warnings } = merge({
        file: file(mapping('corp', 'tenant: org', ', allowedTenants: ["*"]')),
        database: from(database, mapping('partner', 'tenant: org')),
      });
      expect(issues).toEqual([]);
      expect(warnings).toEqual([
        expect.stringMatching(
          /^IdentityProvider\/partner spec.claims.tenant: "org" names what IdentityProvider\/corp .* may name too; with allowedTenants/,
        ),
      ]);
      expect(ids.filter((id) => id.startsWith('Identity'))).toEqual(['IdentityProvider/corp file']);
    });
  });
});
