/**
 * Runs every generator of this folder. A generator is a file `NAME.ts` that exports
 * `generate(): GeneratedFiles | Promise<GeneratedFiles>`: the text of each file it makes, by path in the project.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { z } from 'zod';

/** Text of generated files by path, relative to the project: `{ 'docs/configuration.md': '…' }`. */
export type GeneratedFiles = Readonly<Record<string, string>>;

const root = resolve(import.meta.dirname, '../..');
const own = 'run.ts';
const filesSchema = z.record(z.string(), z.string());
const generatorSchema = z.object({
  generate: z.custom<() => unknown>((value) => typeof value === 'function'),
});

/** As prettier would write it, so that the check of the format and the check for drift agree. */
async function formatted(path: string, text: string): Promise<string> {
  const options = await resolveConfig(path);
  try {
    return await format(text, { ...options, filepath: path });
  } catch (error) {
    // Not a kind of file that it knows (a .proto, say): kept as generated.
    if (error instanceof Error && error.name === 'UndefinedParserError') return text;
    throw error;
  }
}

async function generatedFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const generators = readdirSync(import.meta.dirname).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  );
  for (const name of generators.filter((candidate) => candidate !== own).sort()) {
    const { generate } = generatorSchema.parse(await import(join(import.meta.dirname, name)));
    for (const [path, text] of Object.entries(filesSchema.parse(await generate()))) {
      if (files.has(path)) throw new Error(`${name} generates ${path}, and so does another generator`);
      files.set(path, await formatted(join(root, path), text));
    }
  }
  return files;
}

const { check } = parseArgs({ options: { check: { type: 'boolean', default: false } } }).values;
let stale = 0;
const files = await generatedFiles();
for (const [path, text] of files) {
  const target = join(root, path);
  if (existsSync(target) && readFileSync(target, 'utf8') === text) continue;
  stale += 1;
  if (check) {
    process.stderr.write(`${path} is not up to date: run \`npm run generate\` and commit it\n`);
  } else {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
    process.stdout.write(`wrote ${path}\n`);
  }
}
process.stdout.write(
  `${files.size} generated files, ${check ? `${stale} not up to date` : `${stale} written`}\n`,
);
process.exitCode = check && stale > 0 ? 1 : 0;
