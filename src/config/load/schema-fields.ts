import { z } from 'zod';

/** The schema under whatever makes it optional or gives it a default. */
function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  let current = schema;
  while (
    current instanceof z.ZodOptional ||
    current instanceof z.ZodDefault ||
    current instanceof z.ZodPrefault ||
    current instanceof z.ZodNullable
  ) {
    current = current.unwrap();
  }
  return current;
}

/** The schema of a field, or nothing where the path leads out of the schema. */
export function schemaAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): z.core.$ZodType | undefined {
  let current: z.core.$ZodType | undefined = unwrapped(schema);
  for (const part of path) {
    if (current instanceof z.ZodObject) current = current.shape[String(part)];
    else if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else if (current instanceof z.ZodUnion) {
      current = current.options
        .map((option) => schemaAt(option, [part]))
        .find((found) => found !== undefined);
    } else return undefined;
    if (current === undefined) return undefined;
    current = unwrapped(current);
  }
  return current;
}

/** Field names that an object schema knows; for a union those of all its members. */
export function fieldNames(schema: z.core.$ZodType | undefined): string[] {
  if (schema instanceof z.ZodObject) return Object.keys(schema.shape);
  if (schema instanceof z.ZodUnion)
    return [...new Set(schema.options.flatMap((option) => fieldNames(unwrapped(option))))];
  return [];
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** A zod type name in words. */
export function typeWords(type: string): string {
  return TYPE_WORDS[type] ?? type;
}

/** What a field takes, for the message that it is missing. */
export function describeExpected(schema: z.core.$ZodType | undefined): string | undefined {
  if (schema === undefined) return undefined;
  if (schema instanceof z.ZodEnum) return `one of ${schema.options.join(', ')}`;
  if (schema instanceof z.ZodLiteral) return [...schema.values].map(String).join(' or ');
  if (schema instanceof z.ZodObject) return `an object with ${fieldNames(schema).join(', ')}`;
  if (schema instanceof z.ZodUnion) return `an object with one of ${fieldNames(schema).join(', ')}`;
  return TYPE_WORDS[schema._zod.def.type];
}
