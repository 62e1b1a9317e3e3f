import type { BackendResource } from '../config/resources/index.ts';
import { comparablePath } from '../core/comparable-path.ts';
import type { SnapshotBackend, SnapshotBackendRoute } from '../core/snapshot.ts';

export function compileBackend({ metadata, spec }: BackendResource): SnapshotBackend {
  const url = new URL(spec.url);
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const { name: header, prefix = header === 'authorization' ? 'Bearer ' : '' } = spec.credentialHeader;
  return {
    name: metadata.name,
    scheme,
    host,
    port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port),
    basePath: url.pathname.replace(/\/+$/, ''),
    serverName: spec.tls?.serverName ?? host,
    caFile: spec.tls?.caFile,
    credential: spec.credential === undefined ? undefined : { header, prefix },
    connectTimeoutSeconds: spec.connectTimeoutSeconds,
    timeoutSeconds: spec.timeoutSeconds,
    access: spec.access,
    routes: compileRoutes(spec.routes),
    identityHeaders: spec.identityHeaders,
    identityQuery: spec.identityQuery,
    webSocket: spec.webSocket,
    stripPrefix: spec.stripPrefix,
    cookies: spec.cookies,
  };
}

/** Array.prototype.sort is stable: among equal prefixes the order of declaration stays. */
function compileRoutes(routes: BackendResource['spec']['routes']): SnapshotBackendRoute[] {
  return routes
    .map((route) => ({ ...route, pathPrefix: comparablePath(route.pathPrefix) ?? route.pathPrefix }))
    .sort((left, right) => right.pathPrefix.length - left.pathPrefix.length);
}
