/** What one look at one part found. */
export interface Check {
  readonly name: string;
  /** `off`: it does not run, which is no fault by itself. */
  readonly state: 'ok' | 'warning' | 'problem' | 'off';
  /** What was found, with the version where there is one. */
  readonly detail: string;
  /** How to mend it. */
  readonly fix?: string | undefined;
}

export function ok(name: string, detail: string): Check {
  return { name, state: 'ok', detail };
}

export function off(name: string, detail: string, fix?: string): Check {
  return { name, state: 'off', detail, fix };
}

export function warning(name: string, detail: string, fix?: string): Check {
  return { name, state: 'warning', detail, fix };
}

export function problem(name: string, detail: string, fix?: string): Check {
  return { name, state: 'problem', detail, fix };
}

/** The short reason of a failure: a system's code where there is one, else the first line. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown failure';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error.message.split('\n')[0] ?? error.name;
}
