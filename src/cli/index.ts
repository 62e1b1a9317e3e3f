import type { Command } from 'commander';
import { registerAccessCommands } from './access.ts';
import { registerApplyCommand } from './apply.ts';
import type { CliContext } from './context.ts';
import { registerDemoCommands } from './demo.ts';
import { registerDoctorCommand } from './doctor/doctor.ts';
import { registerEventsCommand } from './events.ts';
import { registerExplainCommand } from './explain.ts';
import { registerGetCommand } from './get.ts';
import { registerKeysCommands } from './keys.ts';
import { registerLimitsCommands } from './limits.ts';
import { registerTokensCommands } from './tokens.ts';
import { registerUsersCommands } from './users.ts';

/** Adds every command that speaks to the admin API: keys, users, roles, teams, groups, limits, tokens, events, get, explain, apply, doctor; and the stand-ins for trying Limen out. */
export function registerAdminCommands(program: Command, context: CliContext): void {
  registerKeysCommands(program, context);
  registerUsersCommands(program, context);
  registerAccessCommands(program, context);
  registerLimitsCommands(program, context);
  registerTokensCommands(program, context);
  registerEventsCommand(program, context);
  registerApplyCommand(program, context);
  registerGetCommand(program, context);
  registerExplainCommand(program, context);
  registerDoctorCommand(program, context);
  registerDemoCommands(program, context);
}
