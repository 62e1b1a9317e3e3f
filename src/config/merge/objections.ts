import { formatPath, type ConfigIssue } from '../load/issue.ts';
import { resourceId, type SourcedResource } from '../origin.ts';

/** Says what is wrong with a resource, and at which field of it. */
export type Objection = (
  sourced: SourcedResource,
  path: readonly PropertyKey[],
  issue: Omit<ConfigIssue, 'path' | 'resource'>,
) => void;

/** An error where the file is at fault, a warning for the database; what is only implied gives way in silence. */
export function objections(): {
  readonly object: Objection;
  readonly issues: readonly ConfigIssue[];
  readonly warnings: readonly ConfigIssue[];
} {
  const issues: ConfigIssue[] = [];
  const warnings: ConfigIssue[] = [];
  const object: Objection = ({ origin, resource, positions }, path, issue) => {
    const described: ConfigIssue = { resource: resourceId(resource), path: formatPath(path), ...issue };
    if (origin.source === 'file') {
      const position = positions?.get(described.path);
      issues.push({
        ...described,
        file: origin.file,
        line: position?.line ?? origin.line,
        column: position?.column ?? 1,
      });
    } else if (origin.source === 'database') warnings.push(described);
  };
  return { object, issues, warnings };
}
