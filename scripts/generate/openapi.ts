import { z } from 'zod';
import type { Authentication } from '../../src/admin/authentication.ts';
import { openApiDocument } from '../../src/admin/openapi.ts';
import { adminRoutes, type AdminServices } from '../../src/admin/routes.ts';
import type { GeneratedFiles } from './run.ts';

/** Writes docs/openapi.json of the admin API's routes. No service is called for that, so there is none. */

const nothing: object = new Proxy(() => undefined, { get: () => nothing });
const services = z
  .custom<AdminServices>()
  // The one that is looked at before it is called.
  .parse(new Proxy({}, { get: (_, name) => (name === 'metrics' ? undefined : nothing) }));
const authentication = z.custom<Authentication>().parse(nothing);

export function generate(): GeneratedFiles {
  const document = openApiDocument(adminRoutes(services, authentication), 'v1alpha1');
  return { 'docs/openapi.json': JSON.stringify(document) };
}
