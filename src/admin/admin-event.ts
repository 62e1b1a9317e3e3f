/** Something that workers or the configuration must learn of at once. */
export type AdminEvent =
  | { readonly type: 'key-changed' | 'user-changed' | 'revocation-changed'; readonly id: string }
  | { readonly type: 'resources-changed'; readonly revision: number };

/** Who is told of what a service has stored. */
export interface AdminListener {
  /**
   * Told of each change after it is stored. An answer waits for it, so that a key works when its owner sees
   * it; what it throws reaches nobody but `onError`.
   */
  readonly onEvent: (event: AdminEvent) => void | Promise<void>;
  readonly onError: (error: unknown) => void;
}

/** Passes an event on; the change is stored by then, so a listener that fails does not undo it. */
export async function tell(listener: AdminListener, event: AdminEvent): Promise<void> {
  try {
    await listener.onEvent(event);
  } catch (error) {
    listener.onError(error);
  }
}
