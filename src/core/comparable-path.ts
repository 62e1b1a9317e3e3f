/**
 * A path in the form in which paths are compared, so that no other spelling of one slips past a rule about it: escapes
 * read, capitals made small, without the parameters that some servers allow behind a `;`, without empty segments and
 * without a slash at the end. `/a/b` and `` (the root) are such forms.
 *
 * @param path from its first slash on, without the query
 * @returns undefined for a path that servers read in different ways: dot segments, hidden slashes, control characters,
 *   escapes that are none and escapes within escapes
 */
export function comparablePath(path: string): string | undefined {
  const segments: string[] = [];
  for (const raw of path.split('/')) {
    const decoded = decode(raw);
    if (decoded === undefined || FORBIDDEN.test(decoded) || ESCAPE.test(decoded)) return undefined;
    const segment = decoded.split(';', 1)[0] ?? '';
    if (segment === '.' || segment === '..') return undefined;
    if (segment !== '') segments.push(segment.toLowerCase());
  }
  return segments.map((segment) => `/${segment}`).join('');
}

/** A slash of either kind, and control characters, among them the NUL at which C programs end a text. */
// oxlint-disable-next-line no-control-regex
const FORBIDDEN = /[/\\\u0000-\u001f\u007f]/;

/** What a server that reads escapes twice would read again. */
const ESCAPE = /%[0-9a-f]{2}/i;

function decode(segment: string): string | undefined {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/** Whether a path lies at a prefix or below it, both comparable. */
export function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}
