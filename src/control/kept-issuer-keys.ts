import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

const keySchema = z.object({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: z.string().optional(),
  alg: z.string().optional(),
  use: z.string().optional(),
  crv: z.string().optional(),
  n: z.string().optional(),
  e: z.string().optional(),
  x: z.string().optional(),
  y: z.string().optional(),
});
const fileSchema = z.object({
  version: z.literal(1),
  issuers: z.record(
    z.string(),
    z.object({
      /** What they were fetched for: keys of another issuer, or from another place, are not its own. */
      declared: z.string(),
      keys: z.array(keySchema),
      fetchedAt: z.number(),
    }),
  ),
});

/** By name of the IdentityProvider. */
export type KeptKeys = z.infer<typeof fileSchema>['issuers'];

/** The last good public keys of issuers, for a control plane that starts while an issuer is away. */
export interface KeptIssuerKeys {
  /** Nothing where the file cannot be used. */
  read(): Promise<KeptKeys>;
  write(keys: KeptKeys): Promise<void>;
}

/** @param path of a JSON file in the data folder */
export function createKeptIssuerKeys(path: string): KeptIssuerKeys {
  return {
    async read() {
      try {
        return fileSchema.parse(JSON.parse(await readFile(path, 'utf8'))).issuers;
      } catch {
        return {};
      }
    },
    async write(issuers) {
      const content: z.input<typeof fileSchema> = { version: 1, issuers };
      await mkdir(dirname(path), { recursive: true });
      await writeFile(`${path}.new`, JSON.stringify(content), { mode: 0o600 });
      await rename(`${path}.new`, path);
    },
  };
}
