import { z } from 'zod';
import type { UserStore } from '../core/identity-store.ts';
import type { RequestLog } from '../core/ledger.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { Authentication } from './authentication.ts';
import type { EventStore } from '../core/events.ts';
import type { StatusSource } from './contract.ts';
import type { KeyService } from './key-service.ts';
import type { ResourceService } from './resource-service.ts';
import type { RevocationService } from './revocation-service.ts';
import type { Rights } from './rights.ts';
import { openApiDocument } from './openapi.ts';
import { bySpecificity, defineRoute, type Route } from './router.ts';
import { accessRoutes } from './routes/access.ts';
import { crossAppRoutes, type CrossAppRoutesOptions } from './routes/cross-app.ts';
import { eventRoutes } from './routes/events.ts';
import { identityLogRoutes, type IdentityLogRoutesOptions } from './routes/identity-logs.ts';
import { keyRoutes } from './routes/keys.ts';
import { limitRoutes, type LimitAdmin } from './routes/limits.ts';
import { requestRoutes } from './routes/requests.ts';
import { resourceRoutes } from './routes/resources.ts';
import { revocationRoutes } from './routes/revocations.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { systemRoutes, type MetricsSourceOptions } from './routes/system.ts';
import { userRoutes } from './routes/users.ts';
import type { UserService } from './user-service.ts';

/** What the routes call; the stores and the control plane stand behind it. */
export interface AdminServices {
  /** Absent: there is no /metrics. */
  readonly metrics?: MetricsSourceOptions | undefined;
  readonly status: StatusSource;
  readonly keys: KeyService;
  readonly users: UserService;
  readonly revocations: RevocationService;
  readonly events: EventStore;
  readonly resources: ResourceService;
  readonly rights: Rights;
  /** Nothing before the first. */
  readonly inForce: () => Snapshot | undefined;
  /** Every user, as workers are told of them. */
  readonly userRecords: Pick<UserStore, 'records'>;
  readonly limits: LimitAdmin;
  readonly crossApp: Pick<CrossAppRoutesOptions, 'access' | 'settings'>;
  readonly identityLogs: IdentityLogRoutesOptions['logs'];
  /** Absent: requests are not shown. */
  readonly requests?: RequestLog | undefined;
}

/** Every route of the admin API. */
export function adminRoutes(services: AdminServices, authentication: Authentication): readonly Route[] {
  const routes = bySpecificity([
    ...sessionRoutes(authentication),
    ...systemRoutes(services.status, services.metrics),
    ...keyRoutes(services.keys),
    ...requestRoutes(services.requests),
    ...userRoutes(services.users, services.inForce),
    ...revocationRoutes(services.revocations),
    ...eventRoutes(services.events),
    ...crossAppRoutes({
      ...services.crossApp,
      users: services.userRecords,
      inForce: services.inForce,
      now: Date.now,
    }),
    ...identityLogRoutes({ logs: services.identityLogs, now: Date.now }),
    ...accessRoutes({ ...services, users: services.userRecords }),
    ...limitRoutes({ ...services, book: services.limits, now: Date.now }),
    ...resourceRoutes(services.resources, services.rights),
    openApiRoute(services.status.version, () => routes),
  ]);
  return routes;
}

/**
 * Public, since it says the same for every installation and stands in the project's own documents: to hide it would protect
 * nobody, and tools that make clients of it carry no credential.
 */
function openApiRoute(version: string, routes: () => readonly Route[]): Route {
  let document: ReturnType<typeof openApiDocument> | undefined;
  return defineRoute({
    method: 'GET',
    path: '/api/v1/openapi.json',
    permission: 'public',
    summary: 'This document',
    tag: 'system',
    response: z.record(z.string(), z.unknown()),
    handle: () => (document ??= openApiDocument(routes(), version)),
  });
}
