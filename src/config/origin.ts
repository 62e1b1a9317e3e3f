import type { Resource } from './resources/index.ts';

/** Where a resource comes from. Only what the database holds can be changed through the admin API. */
export type Origin =
  | {
      readonly source: 'file';
      /** As the user named it, or relative to the folder that the user named. */
      readonly file: string;
      /** Line of the resource's first field, from 1. */
      readonly line: number;
    }
  | { readonly source: 'database'; readonly generation: number }
  | {
      readonly source: 'environment';
      /** What implied it: `OPENAI_API_KEY`, `Ollama on 127.0.0.1:11434`. */
      readonly because: string;
    }
  | { readonly source: 'built-in'; readonly because: string };

/** A place in a file; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A resource with its provenance. */
export interface SourcedResource {
  readonly resource: Resource;
  readonly origin: Origin;
  /** Where its fields stand in its file, by field path; absent for what is in no file. */
  readonly positions?: ReadonlyMap<string, Position>;
}

/** Identity of a resource over all sources: `Model/fast`. */
export function resourceId(resource: {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}): string {
  return `${resource.kind}/${resource.metadata.name}`;
}

/** An origin in words, for messages: `limen.yaml:12`, `the environment (OPENAI_API_KEY)`. */
export function describeOrigin(origin: Origin): string {
  switch (origin.source) {
    case 'file':
      return `${origin.file}:${origin.line}`;
    case 'database':
      return 'the database';
    case 'environment':
      return `the environment (${origin.because})`;
    case 'built-in':
      return `Limen itself (${origin.because})`;
  }
}
