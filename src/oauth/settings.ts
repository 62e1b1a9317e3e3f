import type { CrossAppClient } from './client.ts';

/** As the Gateway resource has it. */
export interface CrossAppSettings {
  /** What the gateway calls itself in assertions and tokens: access.publicUrl. */
  readonly issuer: string;
  /** What assertions name as their resource. */
  readonly resource: string;
  readonly tokenSeconds: number;
  readonly scopes: readonly string[];
  readonly clients: readonly CrossAppClient[];
}
