import type { AuthenticationOptions } from '../admin/authentication.ts';
import type { Directory, IdentityReports } from '../core/access.ts';
import type { SessionBook } from '../core/sessions.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { Identifier } from '../stages/identify.ts';
import { createTokenVerifier } from '../tokens/verifier.ts';

export interface AdminAuthenticationParts {
  readonly snapshot: () => Snapshot | undefined;
  /** The control plane's own view of what workers are told. */
  readonly directory: Directory;
  /** What is seen here counts as much as what workers see. */
  readonly reports: IdentityReports;
  readonly sessions: SessionBook;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** The admin API knows keys and tokens by the very rules of the gateway. */
export function adminAuthentication(parts: AdminAuthenticationParts): Omit<AuthenticationOptions, 'token'> {
  const { snapshot, directory, reports, sessions, now } = parts;
  const identifier = new Identifier({
    directory,
    tokens: createTokenVerifier({ directory, reports, now }),
    reports,
    now,
  });
  return {
    snapshot,
    sessions,
    now,
    identify: (credential, present) => identifier.identify(credential, present),
  };
}
