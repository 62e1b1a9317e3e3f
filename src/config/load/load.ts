import { resourceId, type Position, type SourcedResource } from '../origin.ts';
import { inReadingOrder, placed, type ConfigIssue } from './issue.ts';
import { readConfigTexts, type ConfigText, type ConfigTexts } from './read-files.ts';
import { validateResource } from './validate.ts';
import { parseYaml, positionIn, YamlCache, type YamlDocument } from './yaml.ts';

/** What a configuration file or folder says. With issues, `resources` are those that are right by themselves. */
export interface LoadResult {
  readonly resources: readonly SourcedResource[];
  readonly issues: readonly ConfigIssue[];
  /** `Kind/name` of resources that are declared but wrong, so that references to them are not reported too. */
  readonly invalid: ReadonlySet<string>;
  /** Hash of all names and contents. */
  readonly fingerprint: string;
  /** Folders whose events tell of a change. */
  readonly folders: readonly string[];
}

/** Kinds that refer to others or are referred to by name: a clash is shown at its very field. */
const KINDS_WITH_REFERENCES: ReadonlySet<string> = new Set(['Gateway', 'LimitPolicy', 'Model', 'Provider']);

/** Reads the resources out of texts, wherever these came from; all issues of all texts. */
export function parseResources(
  texts: readonly ConfigText[],
  cache = new YamlCache(),
): Omit<LoadResult, 'fingerprint' | 'folders'> {
  const resources: SourcedResource[] = [];
  const issues: ConfigIssue[] = [];
  const invalid = new Set<string>();
  const firstPlace = new Map<string, string>();

  const take = (file: string, document: YamlDocument) => {
    const validation = validateResource(document.value);
    const id = validation.resource ? resourceId(validation.resource) : validation.id;
    for (const { issue, path, atKey } of validation.issues) {
      issues.push(placed(issue, file, positionIn(document, path, atKey ? 'key' : 'value')));
    }
    if (id === undefined) return;
    const earlier = firstPlace.get(id);
    if (earlier !== undefined) {
      const where = positionIn(document, ['metadata', 'name']);
      issues.push(
        placed(
          { resource: id, path: 'metadata.name', message: `${id} is already declared at ${earlier}` },
          file,
          where,
        ),
      );
      return;
    }
    firstPlace.set(id, `${file}:${document.start.line}`);
    if (!validation.resource) {
      invalid.add(id);
      return;
    }
    resources.push({
      resource: validation.resource,
      origin: { source: 'file', file, line: document.start.line },
      ...(KINDS_WITH_REFERENCES.has(validation.resource.kind) ? { positions: valuePositions(document) } : {}),
    });
  };

  for (const { file, text } of texts) {
    const parsed = parseYaml(file, text, cache);
    issues.push(...parsed.issues);
    for (const document of parsed.documents) take(file, document);
  }
  cache.rotate();
  return { resources, issues: inReadingOrder(issues), invalid };
}

/**
 * Reads a configuration file, or every YAML file of a folder. Never throws: what is wrong is in `issues`, all
 * of it at once. References between resources are checked where all sources come together (mergeSources).
 *
 * @param path absolute path of a file or folder
 */
export async function loadConfig(path: string): Promise<LoadResult> {
  return loadTexts(await readConfigTexts(path));
}

/** The second half of loadConfig, for texts that were read already. Pure. */
export function loadTexts(
  { texts, issues, fingerprint, folders }: ConfigTexts,
  cache = new YamlCache(),
): LoadResult {
  const parsed = parseResources(texts, cache);
  return { ...parsed, issues: inReadingOrder([...issues, ...parsed.issues]), fingerprint, folders };
}

function valuePositions({ places }: YamlDocument): ReadonlyMap<string, Position> {
  return new Map([...places].map(([path, { value }]) => [path, value]));
}
