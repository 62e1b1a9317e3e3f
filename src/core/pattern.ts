/** Whether a name fits a pattern in which `*` stands for any run of characters. Linear in both lengths. */
export function matchesPattern(pattern: string, name: string): boolean {
  return pattern.includes('*') ? compilePattern(pattern)(name) : pattern === name;
}

/** The same for a pattern that many names are held against. */
export function compilePattern(pattern: string): (name: string) => boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return (name) => name === first;
  return (name) => {
    if (!name.startsWith(first)) return false;
    let position = first.length;
    for (const part of rest) {
      const found = name.indexOf(part, position);
      if (found === -1) return false;
      position = found + part.length;
    }
    return name.length - last.length >= position && name.endsWith(last);
  };
}
