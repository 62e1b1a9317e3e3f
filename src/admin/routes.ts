import type { Authentication } from './authentication.ts';
import type { StatusSource } from './contract.ts';
import type { KeyService } from './key-service.ts';
import type { ResourceService } from './resource-service.ts';
import { bySpecificity, type Route } from './router.ts';
import { keyRoutes } from './routes/keys.ts';
import { resourceRoutes } from './routes/resources.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { systemRoutes, type MetricsSourceOptions } from './routes/system.ts';

/** What the routes call; the stores and the control plane stand behind it. */
export interface AdminServices {
  /** Absent: there is no /metrics. */
  readonly metrics?: MetricsSourceOptions | undefined;
  readonly status: StatusSource;
  readonly keys: KeyService;
  readonly resources: ResourceService;
}

/** Every route of the admin API. */
export function adminRoutes(
  services: AdminServices,
  authentication: Authentication,
): readonly Route[] {
  return bySpecificity([
    ...sessionRoutes(authentication),
    ...systemRoutes(services.status, services.metrics),
    ...keyRoutes(services.keys),
    ...resourceRoutes(services.resources),
  ]);
}
