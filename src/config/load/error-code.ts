/** The system's short word for a failure (`ENOENT`), which says enough and gives nothing away. */
export function toErrorCode(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.name : 'error';
}
