/** A value of the protobuf JSON mapping. */
export type ProtoJson =
  string | number | boolean | null | readonly ProtoJson[] | { readonly [key: string]: ProtoJson };

/** An Envoy message in protobuf JSON with snake_case names, as Envoy's own documents write it in YAML. */
export interface ProtoMessage {
  readonly [key: string]: ProtoJson;
}

/** A message that says its own type, so that it can stand in a google.protobuf.Any. */
export interface TypedMessage extends ProtoMessage {
  readonly '@type': string;
}

/** Everything that ADS serves, by type and resource name. */
export interface XdsResources {
  readonly clusters: Readonly<Record<string, TypedMessage>>;
  readonly secrets: Readonly<Record<string, TypedMessage>>;
  readonly listeners: Readonly<Record<string, TypedMessage>>;
  readonly routes: Readonly<Record<string, TypedMessage>>;
}

/** The message with the type URL of `name`, a full protobuf name. */
export function typed(name: string, fields: ProtoMessage): TypedMessage {
  return { '@type': `type.googleapis.com/${name}`, ...fields };
}

/** Seconds as a protobuf duration. */
export function duration(seconds: number): string {
  return `${Number(seconds.toFixed(9))}s`;
}
