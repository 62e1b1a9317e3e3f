import type { z } from 'zod';
import { didYouMean, nearestNames } from '../../core/nearest.ts';
import { API_VERSION } from '../resources/common.ts';
import { KINDS, RESOURCE_SCHEMAS, anyResourceSchema, isKind, type Resource } from '../resources/index.ts';
import { formatPath, showValue, type ConfigIssue } from './issue.ts';
import { describeExpected, fieldNames, schemaAt, typeWords } from './schema-fields.ts';

/** An issue with the path as data, so that a file's positions can be looked up. */
export interface LocatedIssue {
  readonly issue: ConfigIssue;
  readonly path: readonly PropertyKey[];
  /** Whether the field's name is at fault (point at the key) and not its value. */
  readonly atKey: boolean;
}

export type Validation =
  | { readonly resource: Resource; readonly issues: readonly [] }
  | {
      readonly resource?: undefined;
      readonly issues: readonly LocatedIssue[];
      /** `Kind/name`, where the input at least said that much. */
      readonly id?: string | undefined;
    };

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let current: unknown = input;
  for (const part of path) {
    if (Array.isArray(current)) current = current[Number(part)];
    else if (isObject(current)) current = Object.hasOwn(current, part) ? current[String(part)] : undefined;
    else return undefined;
  }
  return current;
}

/**
 * Checks one resource against its kind's schema, with every default filled in.
 *
 * @param input parsed YAML or JSON; anything
 * @returns the resource, or all that is wrong with it
 */
export function validateResource(input: unknown): Validation {
  if (!isObject(input)) {
    return {
      issues: [
        located([], {
          value: showValue(input, []),
          message: 'is no resource',
          allowed: `an object with apiVersion: ${API_VERSION}, kind, metadata and spec`,
        }),
      ],
    };
  }
  const kind = input['kind'];
  if (!isKind(kind)) return { issues: [wrongKind(kind)] };
  const result = RESOURCE_SCHEMAS[kind].safeParse(input);
  // The second look has the type of the whole union; it costs little and never differs.
  if (result.success) return { resource: anyResourceSchema.parse(input), issues: [] };
  const name = valueAt(input, ['metadata', 'name']);
  const id = typeof name === 'string' ? `${kind}/${name}` : undefined;
  const issues = result.error.issues.flatMap((issue) => describe(issue, input, RESOURCE_SCHEMAS[kind]));
  return {
    issues:
      id === undefined ? issues : issues.map((one) => ({ ...one, issue: { ...one.issue, resource: id } })),
    id,
  };
}

function located(
  path: readonly PropertyKey[],
  issue: Omit<ConfigIssue, 'path'>,
  atKey = false,
): LocatedIssue {
  return { issue: { path: formatPath(path), ...issue }, path, atKey };
}

function wrongKind(kind: unknown): LocatedIssue {
  const allowed = `one of ${KINDS.join(', ')}`;
  if (kind === undefined) return located(['kind'], { message: 'is missing', allowed });
  const nearest = typeof kind === 'string' ? nearestNames(kind, KINDS, 1)[0] : undefined;
  return located(['kind'], {
    value: showValue(kind, ['kind']),
    message: 'is no kind',
    allowed,
    ...(nearest ? { hint: `did you mean ${nearest}? Allowed: ${KINDS.join(', ')}` } : {}),
  });
}

function describe(issue: z.core.$ZodIssue, input: unknown, schema: z.core.$ZodType): LocatedIssue[] {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownField(key, path, schema));
  if (issue.code === 'invalid_union') {
    const branch = nearestBranch(issue);
    if (branch) {
      return branch.flatMap((inner) => describe({ ...inner, path: [...path, ...inner.path] }, input, schema));
    }
  }
  const value = valueAt(input, path);
  if (value === undefined) {
    const allowed = issue.code === 'custom' ? issue.message : describeExpected(schemaAt(schema, path));
    return [located(path, { message: 'is missing', ...(allowed ? { allowed } : {}) })];
  }
  const { allowed, hint } = expectation(issue, value);
  return [
    located(path, {
      value: showValue(value, path),
      message: 'is not allowed',
      allowed,
      ...(hint ? { hint } : {}),
    }),
  ];
}

function unknownField(key: string, path: readonly PropertyKey[], schema: z.core.$ZodType): LocatedIssue {
  const fields = fieldNames(schemaAt(schema, path));
  const allowed = fields.length > 0 ? `allowed: ${fields.join(', ')}` : undefined;
  return located(
    [...path, key],
    {
      message: 'is no field here',
      ...(allowed ? { allowed } : {}),
      hint: didYouMean(key, fields),
    },
    true,
  );
}

/**
 * The member of a union that the input was meant to be: the one with the fewest objections, if it stands out.
 * Otherwise the union's own words say more.
 */
function nearestBranch(issue: z.core.$ZodIssueInvalidUnion): readonly z.core.$ZodIssue[] | undefined {
  const ranked = issue.errors.filter((errors) => errors.every((error) => error.path.length > 0));
  const [best, second] = ranked.sort((left, right) => left.length - right.length);
  if (!best || best.some((error) => error.code === 'invalid_type' && error.expected === undefined))
    return undefined;
  return second === undefined || best.length < second.length ? best : undefined;
}

interface Expectation {
  readonly allowed: string;
  readonly hint?: string;
}

function expectation(issue: z.core.$ZodIssue, value: unknown): Expectation {
  switch (issue.code) {
    case 'invalid_type':
      return { allowed: typeWords(issue.expected) };
    case 'invalid_value':
      return oneOf(issue.values.map(String), value);
    case 'too_small':
      return {
        allowed: bound(issue.origin, issue.minimum, issue.inclusive === false ? 'more than' : 'at least'),
      };
    case 'too_big':
      return {
        allowed: bound(issue.origin, issue.maximum, issue.inclusive === false ? 'less than' : 'at most'),
      };
    default:
      return { allowed: issue.message };
  }
}

function oneOf(values: readonly string[], value: unknown): Expectation {
  if (values.length === 1) return { allowed: `only ${values[0]}` };
  const nearest = typeof value === 'string' ? nearestNames(value, values, 1)[0] : undefined;
  const allowed = `one of ${values.join(', ')}`;
  return nearest ? { allowed, hint: `did you mean ${nearest}? Allowed: ${values.join(', ')}` } : { allowed };
}

function bound(origin: string, limit: number | bigint, words: string): string {
  if (origin === 'string') return `${words} ${limit} ${limit === 1 ? 'character' : 'characters'}`;
  if (origin === 'array' || origin === 'set') return `${words} ${limit} ${limit === 1 ? 'entry' : 'entries'}`;
  return `${words} ${limit}`;
}
