import { variableOf, type Settings } from '../../config/env.ts';
import { formatIssue } from '../../config/load/issue.ts';
import { loadConfig } from '../../config/load/load.ts';
import { displayPath } from '../../config/load/read-files.ts';
import { off, ok, problem, warning, type Check } from './check.ts';

/** What the settings and the configuration file say, without a running gateway. */
export async function checkConfiguration(settings: Settings): Promise<Check[]> {
  const checks = settings.warnings.map((text) => warning('settings', text));
  if (settings.config === undefined) {
    const found = settings.providerVariables.join(', ');
    const detail =
      found === ''
        ? 'no limen.yaml, no provider key in the environment'
        : `no limen.yaml; ${found} in the environment`;
    return [
      ...checks,
      off(
        'configuration',
        detail,
        found === '' ? 'the built-in demo answers until there is a provider' : undefined,
      ),
    ];
  }
  const { resources, issues } = await loadConfig(settings.config);
  const path = displayPath(settings.config);
  if (issues.length === 0) return [...checks, ok('configuration', `${path}: ${resources.length} resources`)];
  const [, ...others] = issues;
  return [
    ...checks,
    ...issues
      .slice(0, 1)
      .map((issue) =>
        problem(
          'configuration',
          formatIssue(issue),
          `correct it in ${path} (${variableOf('config')}); the last good configuration stays in force`,
        ),
      ),
    ...others.map((issue) => problem('configuration', formatIssue(issue))),
  ];
}
