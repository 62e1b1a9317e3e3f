import { randomUUID } from 'node:crypto';
import type { RevocationStore, StoredRevocation } from '../core/identity-store.ts';
import { tell, type AdminListener } from './admin-event.ts';
import type { Caller } from './caller.ts';
import type { ListRevocationsRequest, RevocationView, RevokeTokensRequest } from './contract.ts';
import { AdminError } from './errors.ts';
import { iso, readPage } from './page.ts';

export interface RevocationServiceOptions extends AdminListener {
  readonly revocations: Pick<RevocationStore, 'create' | 'list' | 'remove'>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Longest time in milliseconds that a token can be alive, of those that are taken. */
  readonly longestLifetimeMs: () => number;
  /** Whether there is an IdentityProvider of that name. */
  readonly isIssuer: (name: string) => boolean;
}

/** Tokens that are refused before their time. */
export interface RevocationService {
  list(
    request: ListRevocationsRequest,
  ): Promise<{ readonly revocations: readonly RevocationView[]; readonly next: string | undefined }>;
  /** @throws AdminError invalid_request */
  create(request: RevokeTokensRequest, caller: Caller): Promise<RevocationView>;
  /** @throws AdminError not_found */
  remove(id: string, caller: Caller): Promise<RevocationView>;
}

export function createRevocationService(options: RevocationServiceOptions): RevocationService {
  const { revocations, now } = options;
  return {
    async list({ limit, after }) {
      const page = await readPage(limit, (most) => revocations.list({ limit: most, after }));
      return { revocations: page.items.map(view), next: page.next };
    },

    async create({ kind, value, reason, ...times }, caller) {
      const createdAt = now();
      if (kind === 'issuer' && !options.isIssuer(value)) {
        throw new AdminError('invalid_request', `There is no IdentityProvider ${JSON.stringify(value)}.`);
      }
      const before = times.before === undefined ? createdAt : Date.parse(times.before);
      const until =
        times.until === undefined
          ? Math.max(before, createdAt) + options.longestLifetimeMs()
          : Date.parse(times.until);
      if (until <= createdAt) throw new AdminError('invalid_request', 'until is over already.');
      const id = `rev_${randomUUID()}`;
      const { actor } = caller;
      const revocation: StoredRevocation = { id, kind, value, before, until, reason, actor, createdAt };
      await revocations.create(revocation);
      await tell(options, { type: 'revocation-changed', id });
      return view(revocation);
    },

    async remove(id, caller) {
      const removed = await revocations.remove(id, caller.actor);
      if (removed === undefined)
        throw new AdminError('not_found', `There is no revocation ${JSON.stringify(id)}.`);
      await tell(options, { type: 'revocation-changed', id });
      return view(removed);
    },
  };
}

function view(revocation: StoredRevocation): RevocationView {
  const { id, kind, value, reason, actor, before, until, createdAt } = revocation;
  return {
    id,
    kind,
    value,
    reason,
    actor,
    before: iso(before),
    until: iso(until),
    createdAt: iso(createdAt),
  };
}
