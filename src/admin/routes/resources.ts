import { z } from 'zod';
import { isKind, KINDS } from '../../config/resources/index.ts';
import { didYouMean, endOfUnknown } from '../../core/nearest.ts';
import {
  applyResultSchema,
  applySchema,
  deletionSchema,
  resourceListSchema,
  resourceViewSchema,
} from '../contract.ts';
import { requirePermission, type Caller } from '../caller.ts';
import { AdminError } from '../errors.ts';
import type { ChangeRequest, ResourceService } from '../resource-service.ts';
import { requireResourcesWithin, RESOURCE_WRITERS, writePermission, type Rights } from '../rights.ts';
import { defineRoute, type Route } from '../router.ts';

const kindParams = z.object({ kind: z.string().transform(kindOf) });
const nameParams = kindParams.extend({ name: z.string() });

/** Resources of all sources. */
export function resourceRoutes(resources: ResourceService, rights: Rights): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/resources',
      permission: 'resources:read',
      summary: 'List the resources in force, with where each comes from',
      tag: 'resources',
      response: resourceListSchema,
      handle: async () => ({ resources: await resources.list() }),
    }),
    defineRoute({
      method: 'PUT',
      path: '/api/v1/resources',
      permission: RESOURCE_WRITERS,
      summary: 'Create and change resources, all or none',
      tag: 'resources',
      body: applySchema,
      response: applyResultSchema,
      handle: ({ body: { resources: inputs, dryRun }, caller }) =>
        resources.apply(inputs, {
          dryRun,
          actor: caller.actor,
          review: reviewFor(caller, rights),
        }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/resources/:kind',
      permission: 'resources:read',
      summary: 'List the resources of a kind',
      tag: 'resources',
      params: kindParams,
      response: resourceListSchema,
      handle: async ({ params }) => ({ resources: await resources.list(params.kind) }),
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/resources/:kind/*name',
      permission: 'resources:read',
      summary: 'One resource',
      tag: 'resources',
      params: nameParams,
      response: resourceViewSchema,
      handle: async ({ params: { kind, name } }) => {
        const [found] = await resources.list(kind, name);
        if (found) return found;
        const names = (await resources.list(kind)).map(({ metadata }) => metadata.name);
        throw new AdminError('not_found', `There is no ${kind}/${name}${endOfUnknown(name, names)}`);
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/resources/:kind/*name',
      permission: RESOURCE_WRITERS,
      summary: 'Delete a resource of the database',
      tag: 'resources',
      params: nameParams,
      query: deletionSchema,
      response: applyResultSchema,
      handle: ({ params: { kind, name }, query, caller }) => {
        requirePermission(caller, writePermission(kind));
        return resources.remove(kind, name, {
          dryRun: query.dryRun === 'true',
          actor: caller.actor,
          review: reviewFor(caller, rights),
          force: query.force === 'true',
        });
      },
    }),
  ];
}

/**
 * Nobody puts more into force than they have; nor takes away what gives more, which somebody would put back: by then they
 * could have a key of whom it made small. To end a key is open to all who may write keys.
 */
function reviewFor(caller: Caller, rights: Rights): ChangeRequest['review'] {
  return (resources, before) => {
    requireResourcesWithin(
      caller,
      before.filter(({ kind }) => kind !== 'ApiKey'),
      rights,
    );
    requireResourcesWithin(caller, resources, rights);
  };
}

/** A kind as people type it: `model`, `models` and `Model` are the same. */
function kindOf(typed: string): string {
  if (isKind(typed)) return typed;
  const kind = KINDS.find((known) =>
    [known, `${known}s`].some((form) => form.toLowerCase() === typed.toLowerCase()),
  );
  if (kind) return kind;
  const hint = didYouMean(typed, KINDS) ?? `there are ${KINDS.join(', ')}.`;
  throw new AdminError('not_found', `${typed} is no kind; ${hint}`);
}
