import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The project folder. */
export const ROOT = join(import.meta.dirname, '../..');

/** Text of a file of the project. */
export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Everything that is written for people, relative to the project. */
export function documents(): string[] {
  const folders = ['', 'docs', 'envoy', 'examples'];
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  );
}

/** Headings as GitHub names their anchors. */
function anchors(markdown: string): Set<string> {
  const headings = [...withoutFences(markdown).matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? '');
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/\s/g, '-'),
    ),
  );
}

function withoutFences(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, '');
}

/** Links of a document that lead to no file or heading of the project. */
export function brokenLinks(document: string): string[] {
  const targets = [...withoutFences(readText(document)).matchAll(/\]\(([^)\s]+)\)/g)].map(
    (match) => match[1] ?? '',
  );
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? document : join(dirname(document), file);
      if (!existsSync(join(ROOT, path))) return true;
      return anchor !== undefined && !anchors(readText(path)).has(anchor);
    });
}

/** Paths of the project that a document names in code spans and that are not there. */
export function missingPaths(document: string): string[] {
  const spans = [...withoutFences(readText(document)).matchAll(/`([^`\n]+)`/g)].map(
    (match) => match[1] ?? '',
  );
  return spans
    .filter((span) => /^(src|scripts|test|proto|envoy|docs|examples)\/[\w./-]*$/.test(span))
    .filter((span) => !/\bNAME\b/.test(span) && !existsSync(join(ROOT, span)));
}

/** Every LIMEN_ variable that a text names. */
export function variablesIn(text: string): string[] {
  return [...new Set(text.match(/\bLIMEN_[A-Z_]*[A-Z]/g) ?? [])];
}

/** Words of every `limen …` command in the shell blocks and code spans of a document, without flags and values. */
export function limenCommands(markdown: string): string[] {
  const shell = [...markdown.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '').join('\n');
  const spans = [...withoutFences(markdown).matchAll(/`([^`\n]+)`/g)]
    .map((match) => match[1] ?? '')
    .join('\n');
  const calls = `${shell}\n${spans}`.matchAll(
    /(?:^|npx |exec control \/nodejs\/bin\/node src\/)(?:limen|main\.ts) ([a-z]+(?: [a-z]+)?)/gm,
  );
  return [...new Set([...calls].map((match) => match[1] ?? ''))];
}

/** Words after `npm run`, `npm test` and `npm start` in a document. */
export function npmScripts(markdown: string): string[] {
  return [...markdown.matchAll(/\bnpm (run ([a-z-]+)|test|start)\b/g)].map(
    (match) => match[2] ?? match[1] ?? '',
  );
}
