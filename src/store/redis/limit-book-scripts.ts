import { LOOK } from './limit-scripts.ts';
import { NOW, RedisScript } from './scripts.ts';

/** Goes through one page of the index, and calls `visit` with rule, subject and counter of those that are asked for. */
const PAGES = `
local function page(cursor, count, rule, subject, visit)
  local reply = redis.call('ZSCAN', COUNTERS, cursor, 'COUNT', count)
  for index = 1, #reply[2], 2 do
    local itsRule, itsSubject, name = string.match(reply[2][index], '^([^\\31]*)\\31([^\\31]*)\\31(.*)$')
    if (rule == '' or itsRule == rule) and (subject == '' or itsSubject == subject) then
      visit(itsRule, itsSubject, name)
    end
  end
  return reply[1]
end`;

function usageSource(clock: string): string {
  return `${clock}${LOOK('KEYS[1]')}${PAGES}
local found = { '0' }
found[1] = page(ARGV[1], ARGV[2], ARGV[3], ARGV[4], function(rule, subject, name)
  local counter = look(name)
  if not counter.about or counter.settled + counter.reserved + counter.overrun == 0 then return end
  local unit, limit, ends = string.match(counter.about, '^(%S+) (%S+) (%S+)$')
  local start = now
  if counter.window == 0 then
    start = tonumber(string.match(name, '(%d+)$'))
    if tonumber(ends) <= now and counter.reserved == 0 then return end
  end
  local resets = counter.window == 0 and tonumber(ends) or now + resetOf(counter, 0, 0)
  found[#found + 1] = { rule, subject, unit, tonumber(limit), counter.settled, counter.reserved, counter.overrun,
    start, resets, name }
end)
return found`;
}

function resetSource(clock: string): string {
  return `${clock}${LOOK('KEYS[1]')}${PAGES}
local reset = { '0' }
reset[1] = page(ARGV[1], ARGV[2], ARGV[3], ARGV[4], function(_, _, name)
  local counter = look(name)
  if not counter.about then return end
  if counter.settled + counter.overrun > 0 then reset[#reset + 1] = name end
  local buckets = {}
  for slot = 0, counter.window > 0 and 60 or -1 do buckets[#buckets + 1] = slot end
  redis.call('HDEL', counter.key, 'overrun', 'alerted', unpack(buckets))
  -- With nothing left to free twice, the head may go back where the clock did.
  local head = counter.window > 0 and math.floor(now / counter.length) or 0
  redis.call('HSET', counter.key, 'settled', 0, 'head', head)
end)
return reset`;
}

/**
 * The scripts of the control plane's look at limits. KEYS: counters. ARGV: cursor of the page (0 at first), its size,
 * rule and subject (or empty: all). Both return the cursor of the next page first, `0` behind the last.
 *
 * @param clock Lua that sets `now`: the server's own but in tests
 */
export function createLimitBookScripts(clock = NOW) {
  return {
    /** Then of each counter rule, subject, unit, limit, used, reserved, overrun, start and end of its span, name. */
    usage: new RedisScript(usageSource(clock)),
    /** Then the names of the counters that had something to forget. */
    reset: new RedisScript(resetSource(clock)),
  };
}

export const { usage: LIMIT_USAGE, reset: LIMIT_RESET } = createLimitBookScripts();
