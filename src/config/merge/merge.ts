import { inReadingOrder, type ConfigIssue } from '../load/issue.ts';
import type { SourcedResource } from '../origin.ts';
import { withoutAmbiguousIssuers, withoutOwnIssuer } from './issuers.ts';
import { withoutHidden, withoutSecondGateway, withoutTakenNames } from './names.ts';
import { objections } from './objections.ts';
import { withoutReferencesToNowhere } from './references.ts';
import { withoutForeignFiles } from './secret-files.ts';
import { withoutUnboundedClaims } from './unbounded-claims.ts';

/** What each source declares; where two declare the same resource, the one further up here is in force. */
export interface ConfigSources {
  readonly file: readonly SourcedResource[];
  readonly database: readonly SourcedResource[];
  readonly environment: readonly SourcedResource[];
  /** In force only where no other source has a Provider: the demo. */
  readonly builtIn: readonly SourcedResource[];
  /** `Kind/name` of resources that the file declares but wrongly; references to them are not reported. */
  readonly invalid?: ReadonlySet<string>;
  /** Absolute folders in whose files secrets of the database may lie; absent: in any file. */
  readonly secretFolders?: readonly string[];
}

export interface MergedConfig {
  readonly resources: readonly SourcedResource[];
  /** Errors of the file: with any of these the whole must not come into force. */
  readonly issues: readonly ConfigIssue[];
  /** What was left out or hidden of the other sources, which are never worth refusing the whole for. */
  readonly warnings: readonly ConfigIssue[];
}

/**
 * Puts all sources together and checks what only the whole can tell: references, names taken twice, more than
 * one Gateway. Pure.
 */
export function mergeSources(sources: ConfigSources): MergedConfig {
  const others = [...sources.file, ...sources.database, ...sources.environment];
  const hasProvider = others.some(({ resource }) => resource.kind === 'Provider');
  const ordered = hasProvider ? others : [...others, ...sources.builtIn];
  const { object, issues, warnings } = objections();
  let resources: readonly SourcedResource[] = withoutHidden(ordered, object);
  resources = withoutForeignFiles(resources, sources.secretFolders, object);
  resources = withoutSecondGateway(resources, object);
  resources = withoutTakenNames(resources, object);
  resources = withoutOwnIssuer(resources, object);
  resources = withoutAmbiguousIssuers(resources, object);
  resources = withoutUnboundedClaims(resources, object);
  resources = withoutReferencesToNowhere(resources, { object, invalid: sources.invalid ?? new Set() });
  return { resources, issues: inReadingOrder(issues), warnings };
}
