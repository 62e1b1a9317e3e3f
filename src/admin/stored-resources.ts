import type { ResourceChange, ResourceStore, StoredResource } from '../core/configuration-store.ts';
import type { ConfigIssue } from '../config/load/issue.ts';
import { validateResource } from '../config/load/validate.ts';
import type { SourcedResource } from '../config/origin.ts';
import { API_VERSION } from '../config/resources/common.ts';
import { UnsealError, type Vault } from '../vault/vault.ts';
import { isSpecStale, openSpec, sealSpec } from '../vault/sealed-spec.ts';

export interface OpenedResources {
  readonly resources: readonly SourcedResource[];
  /** Resources that are left out: sealed by a key that is gone, or written by another version of Limen. */
  readonly warnings: readonly ConfigIssue[];
}

/**
 * Turns what the database holds into resources with their secrets in clear: for the control plane's memory
 * alone. One that cannot be used is left out with a warning; it never holds up the others.
 */
export function openStoredResources(stored: readonly StoredResource[], vault: Vault): OpenedResources {
  const resources: SourcedResource[] = [];
  const warnings: ConfigIssue[] = [];
  for (const record of stored) {
    const opened = openStoredResource(record, vault);
    if ('resource' in opened) resources.push(opened);
    else warnings.push(...opened.issues);
  }
  return { resources, warnings };
}

function openStoredResource(
  record: StoredResource,
  vault: Vault,
): SourcedResource | { issues: readonly ConfigIssue[] } {
  const { kind, name, labels, generation } = record;
  const id = `${kind}/${name}`;
  try {
    const spec = openSpec(vault, { kind, name }, record.spec);
    const validation = validateResource({ apiVersion: API_VERSION, kind, metadata: { name, labels }, spec });
    if (validation.resource)
      return { resource: validation.resource, origin: { source: 'database', generation } };
    return { issues: validation.issues.map(({ issue }) => ({ ...issue, resource: id })) };
  } catch (error) {
    if (!(error instanceof UnsealError)) throw error;
    const message =
      'cannot be opened with the present encryption key: set it again, or bring the old key back';
    return { issues: [{ resource: id, path: 'spec', message }] };
  }
}

/**
 * Seals again, with the present key, what an older one sealed: after it, the old key may go. Control planes that
 * start at the same time do no harm to each other: one does it, the others find it done.
 *
 * @returns how many resources were sealed again
 */
export async function resealStoredResources(store: ResourceStore, vault: Vault): Promise<number> {
  for (;;) {
    const revision = await store.revision();
    const changes = (await store.list())
      .filter(({ spec }) => isSpecStale(vault, spec))
      .flatMap((record) => resealed(record, vault));
    if (changes.length === 0) return 0;
    if ((await store.change(changes, 'key rotation', revision)) !== undefined) return changes.length;
  }
}

/** Nothing for one that no present key opens: it stays as it is, in case the key comes back. */
function resealed({ kind, name, labels, spec }: StoredResource, vault: Vault): ResourceChange[] {
  const identity = { kind, name };
  try {
    return [
      { action: 'put', kind, name, labels, spec: sealSpec(vault, identity, openSpec(vault, identity, spec)) },
    ];
  } catch (error) {
    if (error instanceof UnsealError) return [];
    throw error;
  }
}
