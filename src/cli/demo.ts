import { once } from 'node:events';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { stringify } from 'yaml';
import { API_VERSION } from '../config/resources/common.ts';
import { messageOf } from '../core/errors.ts';
import { DEMO_ALGORITHMS, DemoIssuerKeys, type DemoAlgorithm, type DemoClaims } from '../demo/issuer-keys.ts';
import { startDemoIssuer } from '../demo/issuer.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { parseExpiry } from './duration.ts';

const DEFAULT_PORT = '4180';
/** Roles that come with Limen, but for the one that may do everything. */
const MAPPED_ROLES = ['admin', 'team-manager', 'developer', 'viewer'];

interface ClaimFlags {
  readonly user: string;
  readonly email?: string;
  readonly name?: string;
  readonly groups?: string;
  readonly roles?: string;
  readonly team?: string;
  readonly tenant?: string;
  readonly scopes?: string;
  readonly plan?: string;
  readonly audience: string;
  readonly expires: string;
}

interface IssuerFlags extends ClaimFlags {
  readonly port: string;
  readonly algorithm: DemoAlgorithm;
}

interface TokenFlags extends ClaimFlags {
  readonly newKey?: boolean;
  readonly assertionFor?: string;
}

/** `limen demo issuer|token` */
export function registerDemoCommands(program: Command, context: CliContext): void {
  const demo = program.command('demo').description('stand-ins for trying Limen out; nothing for production');

  withClaimOptions(
    demo
      .command('issuer')
      .description(
        'run an issuer of tokens (OIDC) on this machine, and print a token and its IdentityProvider',
      )
      .option('--port <number>', 'port on 127.0.0.1; 0: any that is free', DEFAULT_PORT)
      .addOption(
        new Option('--algorithm <name>', 'how it signs').choices([...DEMO_ALGORITHMS]).default('ES256'),
      ),
  )
    .addHelpText(
      'after',
      `
Its keys lie in the data folder, so its tokens outlive it. The gateway asks 127.0.0.1 for keys only if it runs with
LIMEN_ALLOWED_FETCH_RANGES=127.0.0.1/32.

Examples:
  limen demo issuer                                        runs until Ctrl-C
  limen demo issuer --user bob --groups staff,math --roles developer
  limen demo issuer --port 4181 --algorithm RS256 --tenant acme --plan pro`,
    )
    .action((flags: IssuerFlags) => runCommand(context, () => runIssuer(context, flags)));

  withClaimOptions(
    demo
      .command('token')
      .description('print a token of the demo issuer')
      .option('--new-key', 'sign with a new key, as an issuer does that has rotated its own')
      .option(
        '--assertion-for <client>',
        'an identity assertion (ID-JAG) that this client exchanges at POST /oauth/token; --audience is the gateway’s public URL',
      ),
  )
    .addHelpText(
      'after',
      `
Examples:
  limen demo token --user ada
  limen demo token --user bob --groups staff --roles admin --expires 5m
  curl -H "authorization: Bearer $(limen demo token --user ada)" http://127.0.0.1:3000/v1/models
  limen demo token --user ada --new-key                    the gateway fetches the key it does not know
  limen demo token --user ada --assertion-for assistant --audience https://gateway.example.com --expires 5m`,
    )
    .action((flags: TokenFlags) => runCommand(context, () => printToken(context, flags)));
}

function withClaimOptions(command: Command): Command {
  return command
    .option('--user <name>', 'whose token it is (sub)', 'ada')
    .option('--email <address>', 'e-mail address (email)')
    .option('--name <text>', 'name to show (name)')
    .option('--groups <names>', 'groups, separated by commas (groups)')
    .option('--roles <names>', `roles, separated by commas (roles): ${MAPPED_ROLES.join(', ')}`)
    .option('--team <name>', 'team (team)')
    .option('--tenant <name>', 'tenant (tenant)')
    .option('--scopes <names>', 'scopes, separated by commas (scope)')
    .option('--plan <name>', 'gives the feature plan:NAME (plan)')
    .option('--audience <name>', 'whom it is for (aud)', 'limen')
    .option('--expires <when>', 'how long it lives: 5m, 12h, at most 1d', '1h');
}

async function runIssuer(context: CliContext, flags: IssuerFlags): Promise<void> {
  const port = Number(flags.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new CliError(`--port is not allowed to be ${flags.port}; allowed: a whole number up to 65535.`, 2);
  }
  const claims = claimsOf(flags);
  const keyFile = keyFileOf(context);
  const issuer = await startDemoIssuer({ port, keyFile, algorithm: flags.algorithm }).catch(
    (error: unknown) => {
      throw new CliError(
        `The demo issuer cannot listen on port ${port} (${error instanceof Error ? error.message : 'unknown'}).`,
      );
    },
  );
  context.err(`The demo issuer runs at ${issuer.url} until Ctrl-C.

Put this into force (limen apply -f FILE), with LIMEN_ALLOWED_FETCH_RANGES=127.0.0.1/32 where the gateway runs:
`);
  context.out(stringify(identityProvider(issuer.url, flags.audience)));
  context.err(`A token of ${flags.user} (more of them: limen demo token):\n`);
  context.out(await issuer.mint(claims));
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await issuer.close();
}

async function printToken(context: CliContext, flags: TokenFlags): Promise<void> {
  const keys = new DemoIssuerKeys(keyFileOf(context));
  const claims = claimsOf(flags);
  try {
    if (flags.newKey === true) await keys.rotate();
    context.out(
      await keys.mint(flags.assertionFor === undefined ? claims : assertionOf(claims, flags.assertionFor)),
    );
  } catch (error) {
    throw new CliError(messageOf(error));
  }
}

/** What a client exchanges at the gateway for a token of the gateway. */
function assertionOf(claims: DemoClaims, client: string): DemoClaims {
  const others = { ...claims.others, client_id: client, resource: claims.audience };
  return { ...claims, others, type: 'oauth-id-jag+jwt' };
}

function keyFileOf({ settings }: CliContext): string {
  return join(settings().data, 'demo-issuer.json');
}

function claimsOf(flags: ClaimFlags): DemoClaims {
  const { user, email, name, groups, roles, team, tenant, scopes, plan, audience, expires } = flags;
  const others = {
    email,
    ...(email === undefined ? {} : { email_verified: true }),
    name,
    groups: listOf(groups),
    roles: listOf(roles),
    team,
    tenant,
    scope: listOf(scopes)?.join(' '),
    plan,
  };
  const now = Date.now();
  const lifetimeSeconds = Math.floor((Date.parse(parseExpiry(expires, now)) - now) / 1000);
  return { subject: user, audience, lifetimeSeconds, others };
}

function listOf(names: string | undefined): readonly string[] | undefined {
  return names
    ?.split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/** An entry for it that maps every claim it knows. */
function identityProvider(issuer: string, audience: string) {
  return {
    apiVersion: API_VERSION,
    kind: 'IdentityProvider',
    metadata: { name: 'demo' },
    spec: {
      issuer,
      audiences: [audience],
      claims: {
        groups: 'groups',
        roles: 'roles',
        team: 'team',
        tenant: 'tenant',
        features: { plan: 'plan' },
      },
      roleMapping: Object.fromEntries(MAPPED_ROLES.map((role) => [role, [role]])),
      defaultRoles: ['developer'],
    },
  };
}
