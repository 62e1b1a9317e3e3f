import { LOOK } from './limit-scripts.ts';
import { NOW, RedisScript } from './scripts.ts';

/** A round that is not the newest which this domain has heard of does nothing: somebody may have counted shares anew. */
const ROUND = `
local ROUND = COUNTERS .. '-round'
if tonumber(ARGV[1]) < tonumber(redis.call('GET', ROUND) or 0) then return -1 end
redis.call('SET', ROUND, ARGV[1])`;

function askedSource(clock: string): string {
  return `${clock}${LOOK('KEYS[1]')}${ROUND}
local asks = redis.call('HGETALL', ASKS)
redis.call('DEL', ASKS)
local page = redis.call('HSCAN', SHARES, ARGV[2], 'COUNT', ARGV[3])
return { page[1], asks, page[2] }`;
}

function statesSource(clock: string): string {
  return `${clock}${LOOK('KEYS[1]')}${ROUND}
local states = {}
for index = 2, #ARGV do
  local counter = look(ARGV[index])
  states[#states + 1] = { string.format('%.0f', counter.settled), string.format('%.0f', counter.reserved),
    redis.call('HGET', SHARES, ARGV[index]) or '' }
end
return states`;
}

function changeSource(clock: string): string {
  return `${clock}${LOOK('KEYS[1]')}${ROUND}
local shares = {}
for index = 4, #ARGV, 7 do
  local name, limit, base, wanted = ARGV[index], tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
  local share = shareOf(name, tonumber(ARGV[3]), limit, base)
  local counter = look(name)
  if ARGV[2] == 'raise' then
    share = math.max(share, wanted)
  else
    share = math.min(share, math.max(wanted, counter.settled + counter.reserved))
  end
  shares[#shares + 1] = string.format('%.0f', share)
  if ARGV[index + 6] == '1' and share == base then
    redis.call('HDEL', SHARES, name)
  else
    redis.call('HSET', SHARES, name,
      string.format('%s %.0f %.0f %s %s', ARGV[3], limit, share, ARGV[index + 4], ARGV[index + 5]))
  end
end
return shares`;
}

/**
 * Tells of thresholds once. KEYS: alerts, then of each counter what was told. ARGV: of each counter rule and subject, unit,
 * used, limit, end of the period, and thresholds, ascending, with blanks between. An alert stays known for as long as its
 * counter may.
 */
function alertSource(clock: string): string {
  return `${clock}
for at = 2, #KEYS do
  local who, unit, used, limit, ends, thresholds = unpack(ARGV, at * 6 - 11, at * 6 - 6)
  local told = tonumber(redis.pcall('GET', KEYS[at]) or 0) or 0
  for threshold in string.gmatch(thresholds, '%S+') do
    local percent = tonumber(threshold)
    if percent > told and used * 100 >= percent * limit then
      told = percent
      redis.call('SET', KEYS[at], percent, 'PX', string.format('%.0f', math.max(1000, ends - now + 86400000)))
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'who', who, 'unit', unit, 'percent', percent,
        'used', used, 'limit', limit, 'time', now, 'ends', ends)
    end
  end
end`;
}

/** Rounds are numbered by the clock, so that a store that has lost their last number goes on behind it. */
function beginSource(clock: string): string {
  return `${clock}
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local round = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now))
redis.call('SET', KEYS[2], round)
return round`;
}

/**
 * The scripts of the keeper of shares. `asked`, `states` and `change` have KEYS: counters, begin ARGV
 * with the number of the round, and return -1 where a later one has begun.
 *
 * @param clock Lua that sets `now`: the server's own but in tests
 */
export function createShareScripts(clock = NOW) {
  return {
    /** KEYS: who keeps the shares, last round. ARGV: holder, ms. Returns the number of a new round, or nil. */
    begin: new RedisScript(beginSource(clock)),
    /**
     * ARGV: cursor among the counters that have a share of their own, about how many of them. Returns the next cursor, the
     * asks (name and JSON in turn), which are forgotten, and these counters (name and entry in turn).
     */
    asked: new RedisScript(askedSource(clock)),
    /** ARGV: counters. Returns of each what is settled and reserved, and its entry (or nothing). */
    states: new RedisScript(statesSource(clock)),
    /**
     * ARGV: `lower` or `raise`, number of domains, then in turn counter, limit, base, share, end of the period, what
     * others use, and 1 where all go back to their base. Returns the share of each.
     */
    change: new RedisScript(changeSource(clock)),
    alert: new RedisScript(alertSource(clock)),
  };
}
