import type { Permission } from './access.ts';
import type { SnapshotLimit } from './limits.ts';
import type { Price } from './usage.ts';

export type { VirtualKey } from './access.ts';

/**
 * What the whole configuration compiles to: plain JSON, immutable, named by the hash of its content. Workers
 * get it over the snapshot stream; a request pins one and keeps it through every try. It holds no secret:
 * provider credentials go to Envoy alone.
 */
export interface Snapshot {
  /** First 16 hex digits of the SHA-256 of everything else in here. */
  readonly version: string;
  readonly gateway: SnapshotGateway;
  /** By provider name. */
  readonly providers: Readonly<Record<string, SnapshotProvider>>;
  /** By model name. */
  readonly models: Readonly<Record<string, SnapshotModel>>;
  /** Alias → model name. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Where model names go that no model and no alias is; longest prefix first, so the first match decides. */
  readonly prefixes: readonly ModelPrefix[];
  /** By role name, the built-in ones among them. */
  readonly roles: Readonly<Record<string, SnapshotRole>>;
  /** By team name. */
  readonly teams: Readonly<Record<string, SnapshotTeam>>;
  /** By name: teams that are in force no longer and that nobody has given up. */
  readonly formerTeams?: Readonly<Record<string, KnownTeam>> | undefined;
  /** By name of the IdentityProvider. */
  readonly identityProviders: Readonly<Record<string, SnapshotIdentityProvider>>;
  /** By name. */
  readonly limits: readonly SnapshotLimit[];
  /** By backend name. */
  readonly backends: Readonly<Record<string, SnapshotBackend>>;
}

/** What a role allows, and who has it beside those whom it was given to by name. */
export interface SnapshotRole {
  readonly name: string;
  readonly permissions: readonly Permission[];
  /** Patterns of what `models:use` and the others are about; absent: all. */
  readonly models?: readonly string[] | undefined;
  readonly tools?: readonly string[] | undefined;
  readonly backends?: readonly string[] | undefined;
  /** Users and groups that have it, exact. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
}

/** A team: who is in it, and what it has together. */
export interface SnapshotTeam {
  readonly name: string;
  readonly tenant?: string | undefined;
  /** Users and groups that are in it, exact. */
  readonly members: readonly string[];
  readonly groups: readonly string[];
  /** Users who may manage its keys and members. */
  readonly managers: readonly string[];
  /** Roles that every member has. */
  readonly roles: readonly string[];
  /** Patterns; absent: no bound. */
  readonly models?: readonly string[] | undefined;
}

/** Of a team that was in force, what goes on when it vanishes: whom it bounds, and how. What it gave ends. */
export interface KnownTeam extends Omit<SnapshotTeam, 'managers' | 'roles'> {
  /** Of those whom its roles kept from the default ones, which of these count for them now; absent: all. */
  readonly defaultRoles?: readonly string[] | undefined;
}

/**
 * Who may use a thing, beyond what roles allow. Every member that is there must be met: one of the roles, groups, teams,
 * tenants, features; all of the scopes.
 */
export interface SnapshotAccess {
  readonly roles?: readonly string[] | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly teams?: readonly string[] | undefined;
  readonly tenants?: readonly string[] | undefined;
  readonly features?: readonly string[] | undefined;
  readonly scopes?: readonly string[] | undefined;
}

/** An issuer whose tokens are taken. Its keys come by the directory, not with the snapshot. */
export interface SnapshotIdentityProvider {
  readonly name: string;
  /** Name of the IdentityProvider on whose word the gateway itself issues these tokens (core/cross-app-access.ts). */
  readonly exchangedFor?: string | undefined;
  /** The token's `iss`, to the letter. */
  readonly issuer: string;
  /** One of them must be in the token's `aud`; of an empty list none can be. */
  readonly audiences: readonly string[];
  /** Tokens without `aud` are taken: of issuers with a shared secret alone, which is for nobody else. */
  readonly withoutAudience: boolean;
  readonly algorithms: readonly ('RS256' | 'ES256' | 'EdDSA' | 'HS256')[];
  readonly clockSkewSeconds: number;
  /** Longest lifetime (`exp` − `iat`) that is taken. */
  readonly maxLifetimeSeconds: number;
  /** Before the subject in the canonical user; `` where the issuer's subjects are plain names. */
  readonly userPrefix: string;
  /** Before every group that its tokens name; mostly ``. */
  readonly groupPrefix: string;
  /** Patterns of what its tokens may name, without the prefix; absent: all. */
  readonly allowedGroups?: readonly string[] | undefined;
  readonly allowedTeams?: readonly string[] | undefined;
  readonly allowedTenants?: readonly string[] | undefined;
  /** Paths of claims, dots between; a claim's name may be in quotes where it has dots. */
  readonly claims: {
    readonly user: string;
    readonly email: string;
    readonly name: string;
    readonly groups?: string | undefined;
    readonly roles?: string | undefined;
    readonly tenant?: string | undefined;
    readonly team?: string | undefined;
    readonly scopes: string;
    /** Feature name → claim path: `plan` of `app.plan` gives `plan:pro`; a claim that is true gives the bare name. */
    readonly features: Readonly<Record<string, string>>;
  };
  /** Value of the claim → role names; a value that is not in here gives none. */
  readonly roleMapping: Readonly<Record<string, readonly string[]>>;
  /** Roles of everybody with a token of this issuer. */
  readonly defaultRoles: readonly string[];
}

/** Any HTTP service behind the gateway, under `/backends/NAME/`. */
export interface SnapshotBackend {
  readonly name: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** Path prefix of the service without a trailing slash, or empty. */
  readonly basePath: string;
  readonly serverName: string;
  readonly caFile?: string | undefined;
  /** How its credential is sent (its value is in the secrets alone); absent: it has none. */
  readonly credential?: { readonly header: string; readonly prefix: string } | undefined;
  readonly connectTimeoutSeconds: number;
  /** Longest time of a whole answer; 0: as long as it takes. */
  readonly timeoutSeconds: number;
  /** Beyond roles, of every request; absent: nothing more is asked. */
  readonly access?: SnapshotAccess | undefined;
  /**
   * Longest prefix first. The longest that fits decides; where none fits, and where those that do name other methods,
   * the request is refused. None at all: no path is refused.
   */
  readonly routes: readonly SnapshotBackendRoute[];
  readonly identityHeaders: boolean;
  /** Query parameters that are set to what is known of the caller, by parameter. */
  readonly identityQuery: Readonly<Record<string, IdentityField>>;
  readonly webSocket: boolean;
  /** `/backends/NAME` is taken off the path. */
  readonly stripPrefix: boolean;
  /** Cookies pass both ways. */
  readonly cookies: boolean;
}

/** What a Backend may be told of its caller. */
export const IDENTITY_FIELDS = ['user', 'email', 'name', 'groups', 'tenant'] as const;
export type IdentityField = (typeof IDENTITY_FIELDS)[number];

export interface SnapshotBackendRoute {
  /** Comparable (comparablePath); `` is the root. Rows and errors name it. */
  readonly pathPrefix: string;
  /** Empty: all. */
  readonly methods: readonly string[];
  readonly access?: SnapshotAccess | undefined;
}

/** Names that begin with `prefix` are sent to `provider` as they are. */
export interface ModelPrefix {
  readonly prefix: string;
  readonly provider: string;
}

/** The Gateway resource with every default filled in; times in seconds, sizes in bytes. */
export interface SnapshotGateway {
  readonly tls?:
    | {
        readonly certificateFile: string;
        readonly keyFile: string;
        readonly clientCaFile?: string | undefined;
      }
    | undefined;
  readonly trust: { readonly hops: number; readonly internalRanges: readonly string[] };
  readonly cors: { readonly allowOrigins: readonly string[] };
  readonly limits: { readonly requestBody: number; readonly bytesInFlightPerWorker: number };
  readonly timeouts: {
    readonly requestSeconds: number;
    readonly perTrySeconds: number;
    readonly streamIdleSeconds: number;
    readonly uploadIdleSeconds: number;
  };
  readonly retries: {
    readonly attempts: number;
    /** Longest `retry-after` that is waited for where there is no other provider to turn to. */
    readonly maxRetryAfterSeconds: number;
  };
  readonly circuitBreaker: {
    /** Failed tries in a row that open it; 0: there is none. */
    readonly failures: number;
    /** How long it stays open before one probe; doubled each time that the probe fails, at most tenfold. */
    readonly openSeconds: number;
  };
  readonly responses: {
    /** How long answers are kept for `previous_response_id`; 0: it is refused. */
    readonly storeSeconds: number;
  };
  readonly access: {
    /** Roles of users of virtual keys who have none. */
    readonly keyRoles: readonly string[];
    /** What clients reach the gateway under, without a trailing slash; absent: the host that they asked for. */
    readonly publicUrl?: string | undefined;
  };
  /** Present: the gateway exchanges assertions of identity providers for tokens of its own, under this issuer. */
  readonly crossAppAccess?: { readonly issuer: string } | undefined;
  /** Some identity provider tells the gateway of its log. */
  readonly identityProviderLogs?: true | undefined;
  /** Headers that may name the workflow of a request, lower case, the first that is there counts. */
  readonly workflowHeaders: readonly string[];
}

/** A provider as requests and the Envoy builders see it. */
export interface SnapshotProvider {
  /** Of a tenant's own: `PROVIDER@TENANT`. */
  readonly name: string;
  /** Name of the Provider resource. */
  readonly resource: string;
  /** Whose it is alone; absent: everybody's who has none of their own. */
  readonly tenant?: string | undefined;
  /** Only tenants with a credential of their own may use it: not this one, but theirs. */
  readonly tenantsOnly?: boolean | undefined;
  /** It is sent who asks (X-User-Id and so on). */
  readonly identityHeaders: boolean;
  /** The verified user goes into the request's `user` field. */
  readonly subjectAsUser: boolean;
  /** Folder under src/providers. */
  readonly type: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** Path prefix of the API without a trailing slash: `/v1`, or empty. */
  readonly basePath: string;
  /** Whether a credential is configured (its value is in the secrets alone). */
  readonly hasCredential: boolean;
  readonly caFile?: string | undefined;
  readonly serverName: string;
  readonly connectTimeoutSeconds: number;
  readonly defaultMaxOutputTokens: number;
  /** Settings of its type: `region`, `apiVersion` … (ProviderOptions). */
  readonly options: Readonly<Record<string, string>>;
}

/** A model that clients may ask for. */
export interface SnapshotModel {
  readonly name: string;
  /** Ordered by priority, then as declared. */
  readonly targets: readonly SnapshotTarget[];
  readonly usageChunk: 'hide' | 'show';
  readonly perTryTimeoutSeconds?: number | undefined;
  /** Until when another target may take over: its headers, or its first content. */
  readonly failoverOn: 'responseHeaders' | 'firstEvent';
  /** What becomes of a request that a provider cannot be told whole. */
  readonly losses: 'report' | 'refuse';
  /** Equal requests get the stored answer; absent: never. */
  readonly cache?: SnapshotCache | undefined;
  /** Beyond roles; absent: nothing more is asked. */
  readonly access?: SnapshotAccess | undefined;
  /** What a token counts in limits on tokens; absent: 1. */
  readonly multiplier?: { readonly input: number; readonly output: number } | undefined;
  /** Longest prompt and longest answer in tokens, where they are known: bounds of what a request can cost. */
  readonly contextTokens?: number | undefined;
  readonly outputTokens?: number | undefined;
}

export interface SnapshotCache {
  readonly ttlSeconds: number;
  /** Who shares answers. */
  readonly scope: 'key' | 'user' | 'team' | 'everybody';
}

export interface SnapshotTarget {
  readonly provider: string;
  /** Name that the provider knows; absent: the name that the client used. */
  readonly model?: string | undefined;
  readonly priority: number;
  readonly weight: number;
  /** The target's, else the model's, else the price table's; absent where nobody knows. */
  readonly price?: Price | undefined;
}

/**
 * Credentials by provider name (those of a Backend by that of its cluster), in clear, only in the control plane's memory
 * and on its way to Envoy: what goes into a header, or for requests that Envoy signs (`options.authentication: sigv4`) JSON
 * `{accessKeyId, secretAccessKey, sessionToken?}`.
 */
export type ProviderSecrets = Readonly<Record<string, string>>;
