import type { LimitPolicyResource } from '../config/resources/index.ts';
import { NANO_USD, WINDOWS, type LimitUnit, type SnapshotLimit } from '../core/limits.ts';

const PERIOD_ALERTS = [50, 80, 95, 100];

/** A LimitPolicy with every default filled in; none where it is not in force. */
export function compileLimit({ metadata, spec }: LimitPolicyResource): SnapshotLimit[] {
  const amount = amountOf(spec);
  const span = spanOf(spec);
  if (!spec.enabled || amount === undefined || span === undefined) return [];
  const mode = spec.mode ?? (span.kind === 'calendar' ? 'hard' : 'soft');
  const hardBudget = mode === 'hard' && span.kind === 'calendar';
  const alerts = spec.alerts ?? (span.kind === 'calendar' ? PERIOD_ALERTS : []);
  return [
    {
      name: metadata.name,
      label: `${spec.per}:${amount.unit}/${span.name}`,
      per: spec.per,
      match: spec.match,
      unit: amount.unit,
      limit: amount.limit,
      span,
      mode,
      shadow: spec.shadow,
      onShortfall: spec.onShortfall,
      onStoreAway: hardBudget ? 'refuse' : (spec.onStoreAway ?? 'allow'),
      alerts: [...new Set(alerts)].sort((left, right) => left - right),
    },
  ];
}

type Spec = LimitPolicyResource['spec'];

function amountOf(spec: Spec): { readonly unit: LimitUnit; readonly limit: number } | undefined {
  if (spec.requests !== undefined) return { unit: 'requests', limit: spec.requests };
  if (spec.tokens !== undefined) return { unit: 'tokens', limit: spec.tokens };
  if (spec.usd !== undefined) return { unit: 'usd', limit: Math.round(spec.usd * NANO_USD) };
  return undefined;
}

function spanOf({ window, period, timeZone }: Spec): SnapshotLimit['span'] | undefined {
  if (window !== undefined) return { kind: 'window', name: window, milliseconds: WINDOWS[window] };
  if (period !== undefined) return { kind: 'calendar', name: period, timeZone };
  return undefined;
}
