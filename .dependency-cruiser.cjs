/**
 * Who may import whom (docs/architecture.md). Each folder of src lists the other folders it may use; what is
 * not listed is forbidden.
 */
const test = '\\.test\\.ts$|/__fixtures__/|/testing/';

/** @type {Record<string, string[]>} */
const allowed = {
  core: [],
  config: ['core'],
  telemetry: ['core', 'config'],
  formats: ['core'],
  providers: ['core', 'formats'],
  stages: ['core', 'formats'],
  prices: ['core'],
  tokens: ['core'],
  oauth: ['core', 'tokens', 'vault'],
  snapshot: ['core', 'config', 'prices'],
  istio: ['core', 'config'],
  store: ['core', 'config', 'telemetry'],
  up: ['config', 'telemetry'],
};

const folderRules = Object.entries(allowed).map(([folder, others]) => ({
  name: `${folder}-imports`,
  comment:
    others.length > 0 ? `src/${folder} may use ${others.join(', ')}` : `src/${folder} uses nothing of ours`,
  severity: 'error',
  from: { path: `^src/${folder}/`, pathNot: test },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...others].join('|')})/` },
}));

/** A package that belongs to one place. */
const owned = (name, packages, homes) => ({
  name,
  comment: `only ${homes.join(', ')} may use it`,
  severity: 'error',
  from: { path: '^src/', pathNot: `^src/(${homes.join('|')})/|${test}` },
  to: { path: `(^|/)node_modules/(${packages})(/|$)` },
});

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...folderRules,
    {
      name: 'providers-apart',
      comment: 'a provider never uses another one: what two share belongs to vendors, or to formats',
      severity: 'error',
      from: { path: '^src/providers/([^/]+)/', pathNot: test },
      to: { path: '^src/providers/[^/]+/', pathNot: '^src/providers/($1|vendors)/' },
    },
    {
      name: 'stages-apart',
      comment: 'a stage never uses another one',
      severity: 'error',
      from: { path: '^src/stages/([^/]+)/', pathNot: test },
      to: { path: '^src/stages/[^/]+/', pathNot: '^src/stages/$1/' },
    },
    {
      name: 'processor-imports',
      comment: 'the pipeline and the stores are handed to the servers',
      severity: 'error',
      from: { path: '^src/processor/', pathNot: test },
      to: { path: '^src/(stages|store|providers|admin|control|up|main)[/.]' },
    },
    {
      name: 'admin-imports',
      comment: 'the stores are handed to the admin API',
      severity: 'error',
      from: { path: '^src/admin/', pathNot: test },
      to: { path: '^src/(stages|store|providers|processor|up|main)[/.]' },
    },
    {
      name: 'xds-imports',
      comment: 'the data plane is built from a snapshot alone',
      severity: 'error',
      from: { path: '^src/xds/', pathNot: test },
      to: { path: '^src/', pathNot: '^src/(xds|core|config|telemetry|envoy-protocol)/' },
    },
    {
      name: 'pure-builders',
      comment: 'builders and formats do no I/O: the same input gives the same output',
      severity: 'error',
      from: { path: '^src/(core|formats|prices|providers|snapshot|tokens|istio|xds/build)/', pathNot: test },
      to: {
        path: '^(node:)?(fs|tls|dgram|dns|http|https|http2|child_process|timers|worker_threads)(/|$)',
      },
    },
    owned('grpc-home', '@grpc/[^/]+', ['processor', 'xds', 'control', 'distribution']),
    owned('ioredis-home', 'ioredis', ['store/redis']),
    owned('postgres-home', 'pg|drizzle-orm', ['store/postgres']),
    owned('clickhouse-home', '@clickhouse/[^/]+|chdb', ['store/clickhouse']),
    {
      name: 'nothing-imports-main',
      severity: 'error',
      from: {},
      to: { path: '^src/main\\.ts$' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-development-packages',
      comment: 'what runs in production is a dependency, not a devDependency',
      severity: 'error',
      from: { path: '^src/', pathNot: test },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg'], dependencyTypesNot: ['type-only', 'npm'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
