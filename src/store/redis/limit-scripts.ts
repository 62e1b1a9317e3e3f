import { MIN_OUTPUT_TOKENS } from '../../core/limits.ts';

/** The keys of the limiter, as a script names them: `KEYS[3]` or `leases .. ':x'`. */
export interface LimitKeyNames {
  readonly leases: string;
  readonly reservations: string;
  readonly counters: string;
  readonly alerts: string;
}

/** Reservations that one admission frees at most, so that it stays short; the reconciler sees to the rest. */
const MOST_FREED = 50;
/** A calendar counter stays for a day behind its period, for requests that end late. */
const CALENDAR_GRACE_MS = 86_400_000;
const GRACE_MS = 60_000;
/** Counters that are gone are taken out of the index, a few whenever one is put in. */
const MOST_FORGOTTEN = 4;
const MOST_ALERTS = 10_000;
/** As many tokens as nobody asks for, but few enough that they are counted exactly. */
const MOST_TOKENS = 1e15;
/** Counters that may wait for the keeper of shares; others ask again. */
const MOST_ASKS = 1000;
/** Shares are moved so often, or a little later. */
const SHARES_MOVE_MS = 1000;

/** Parts of a sliding window. One more is kept, so that a counter forgets no amount before its time. */
const BUCKETS = 60;
const KEPT = BUCKETS + 1;

/**
 * Lua that reads a counter. Needs `now`. A counter is a hash `COUNTERS:NAME`, whose name ends with `/wMILLISECONDS`
 * (sliding window) or `/pSTART` (calendar period). Fields: settled, reserved, overrun, alerted (highest threshold
 * told), about (unit, limit and end, for those who look at it), and for windows head, the newest of its buckets, and
 * the buckets by their number modulo 61. The head never goes back, so that a clock that does frees nothing twice.
 * Counters share the hash tag of the keys that scripts are given: a cluster has them in one place.
 *
 * Where an installation has several limit domains, the counters of one subject in each of them share its limit. The
 * hash `COUNTERS-shares` has those whose share is not what it is by default, its base: by name `DOMAINS LIMIT SHARE
 * ENDS OTHERS` (the number of domains and the limit that the share is a part of, end of the period or 0, what was
 * used in the other domains when somebody last looked). The shares of a counter never add up to more than its limit; so
 * one that is a part of more than the limit in force is none, but where it is less than the base. It has no time to
 * live: it may be less for good, because it is more elsewhere. Only the keeper of shares (share-scripts.ts) changes it.
 * The hash `COUNTERS-asks` has the counters that it is to look at.
 *
 * `look` writes nothing, but to remove what is no counter. What has aged since the last write is in `aged`, and taken
 * off by `write`.
 */
export const LOOK = (counters: string) => `
local COUNTERS = ${counters}
local function look(name)
  local kind, number = string.match(name, '/([wp])(%d+)$')
  local counter = { name = name, key = COUNTERS .. ':' .. name, window = kind == 'w' and tonumber(number) or 0, aged = {} }
  local seen = redis.pcall('HMGET', counter.key, 'head', 'settled', 'reserved', 'overrun', 'alerted', 'about')
  if seen.err then
    redis.call('DEL', counter.key)
    seen = {}
  end
  counter.settled, counter.reserved = tonumber(seen[2] or 0), tonumber(seen[3] or 0)
  counter.overrun, counter.alerted, counter.about = tonumber(seen[4] or 0), tonumber(seen[5] or 0), seen[6]
  if counter.window == 0 then return counter end
  counter.length = counter.window / ${BUCKETS}
  local current = math.floor(now / counter.length)
  counter.newest = tonumber(seen[1] or current)
  counter.head = math.max(current, counter.newest)
  for index = math.max(counter.newest + 1, counter.head - ${BUCKETS}), counter.head do
    counter.aged[#counter.aged + 1] = index % ${KEPT}
  end
  if counter.head - counter.newest >= ${KEPT} then
    counter.settled = 0
  elseif #counter.aged > 0 then
    for _, amount in ipairs(redis.call('HMGET', counter.key, unpack(counter.aged))) do
      counter.settled = counter.settled - (amount or 0)
    end
  end
  return counter
end
local function resetOf(counter, missing, ends)
  if counter.window == 0 then return math.max(0, ends - now) end
  if missing > 0 then
    local slots = {}
    for index = counter.head - ${BUCKETS}, counter.newest do slots[#slots + 1] = index % ${KEPT} end
    for at, amount in ipairs(#slots > 0 and redis.call('HMGET', counter.key, unpack(slots)) or {}) do
      missing = missing - (amount or 0)
      if missing <= 0 then return (counter.head + at) * counter.length - now end
    end
  end
  return (counter.head + ${KEPT}) * counter.length - now
end
local SHARES, ASKS = COUNTERS .. '-shares', COUNTERS .. '-asks'
local function shareOf(name, domains, limit, base)
  local entry = redis.call('HGET', SHARES, name)
  if not entry then return base, 0 end
  local itsDomains, itsLimit, share, _, others = string.match(entry, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  share, others = tonumber(share), tonumber(others)
  if tonumber(itsDomains) ~= domains or tonumber(itsLimit) > limit then share = math.min(share, base) end
  return share, others
end`;

/**
 * Lua that changes counters. Needs `now`; `lease` is where the ms of a lease are. `rule` has unit, limit, ends (0 for windows),
 * who (rule and subject) and alerts. A counter outlives its span, and the reservations that it has, by a little.
 */
export const COUNT = (keys: LimitKeyNames, lease: string) => `${LOOK(keys.counters)}
local LEASE = tonumber(${lease})
local LEASES, RESERVATIONS, ALERTS = ${keys.leases}, ${keys.reservations}, ${keys.alerts}
local function list(counter, who, ttl)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', COUNTERS, '-inf', now, 'LIMIT', 0, ${MOST_FORGOTTEN})) do
    local left = redis.call('PTTL', COUNTERS .. ':' .. string.match(member, '([^\\31]*)$'))
    if left > 0 then redis.call('ZADD', COUNTERS, now + left, member) else redis.call('ZREM', COUNTERS, member) end
  end
  redis.call('ZADD', COUNTERS, now + ttl, who .. '\\31' .. counter.name)
end
local function ask(name, rule, wanted)
  local known = redis.call('HGET', ASKS, name)
  if known and cjson.decode(known).wanted >= wanted then return end
  if not known and redis.call('HLEN', ASKS) >= ${MOST_ASKS} then return end
  redis.pcall('HSET', ASKS, name, cjson.encode({ limit = string.format('%.0f', rule.limit), wanted = wanted,
    ends = string.format('%.0f', rule.ends), unit = rule.unit, who = rule.who, alerts = table.concat(rule.alerts, ' ') }))
end
local function write(counter, rule)
  local about = string.format('%s %.0f %.0f', rule.unit, rule.limit, rule.ends)
  if #counter.aged > 0 then redis.call('HDEL', counter.key, unpack(counter.aged)) end
  redis.call('HSET', counter.key, 'settled', counter.settled, 'reserved', counter.reserved)
  if #counter.aged > 0 or counter.about ~= about then
    local span = counter.window > 0 and counter.window + counter.length or rule.ends - now + ${CALENDAR_GRACE_MS}
    local ttl = math.max(span, 2 * LEASE) + ${GRACE_MS}
    redis.call('HSET', counter.key, 'head', counter.head or 0, 'about', about)
    redis.call('PEXPIRE', counter.key, ttl)
    if counter.about ~= about then list(counter, rule.who, ttl) end
  end
  counter.aged, counter.about = {}, about
end
local function charge(counter, amount, rule)
  counter.settled = counter.settled + amount
  write(counter, rule)
  if counter.window > 0 then
    redis.call('HINCRBY', counter.key, counter.head % ${KEPT}, amount)
    return
  end
  if rule.shared then
    -- Of the sum over all domains the keeper of shares tells.
    if #rule.alerts > 0 then ask(counter.name, rule, counter.settled + counter.reserved) end
    return
  end
  for _, percent in ipairs(rule.alerts) do
    if percent > counter.alerted and counter.settled * 100 >= percent * rule.limit then
      counter.alerted = percent
      redis.call('HSET', counter.key, 'alerted', percent)
      redis.call('XADD', ALERTS, 'MAXLEN', '~', ${MOST_ALERTS}, '*', 'who', rule.who, 'unit', rule.unit,
        'percent', percent, 'used', counter.settled, 'limit', rule.limit, 'time', now, 'ends', rule.ends)
    end
  end
end
local function free(name, amount)
  local key = COUNTERS .. ':' .. name
  local reserved = redis.pcall('HGET', key, 'reserved')
  if type(reserved) == 'string' then redis.call('HSET', key, 'reserved', math.max(0, reserved - amount)) end
end
local function heldBy(id)
  local packed = redis.call('HGET', RESERVATIONS, id)
  return packed and cmsgpack.unpack(packed)
end
local function outlive(name)
  local key, ttl = COUNTERS .. ':' .. name, 2 * LEASE + ${GRACE_MS}
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end
local function release(id)
  local held = heldBy(id)
  if not held then return end
  for name, amount in pairs(held) do free(name, amount) end
  redis.call('HDEL', RESERVATIONS, id)
end`;

/**
 * Lua of the admission: `decide` looks at every check and writes nothing, `reserve` writes what was decided. The
 * checks are as limit-codec.ts writes them. `askForShares` asks for more of the limits that several domains share, before
 * there is none left or where it was too little.
 */
export const ADMIT_LIMITS = `
local function freeLapsed()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ${MOST_FREED})) do
    release(id)
    redis.call('ZREM', LEASES, id)
  end
end
local function place(check, seen)
  local name = check.name
  check.ends, check.period = 0, 0
  if check.starts then
    while check.period < 2 and now >= check.starts[check.period + 2] do check.period = check.period + 1 end
    name = string.format('%s/p%.0f', name, check.starts[check.period + 1])
    check.ends = check.starts[check.period + 2]
  end
  seen[name] = seen[name] or look(name)
  check.counter = seen[name]
  check.most, check.others = check.limit, 0
  if check.shared then check.most, check.others = shareOf(name, check.domains, check.limit, check.base) end
end
local function needOf(check, output)
  if check.kind == 'count' then return 1 end
  if check.kind ~= 'hard' then return 0 end
  return check.fixed + math.ceil(check.per * output)
end
local function missingFor(check, output)
  local counter = check.counter
  if check.kind == 'idle' then return 0 end
  if check.kind == 'soft' then return counter.settled + 1 - check.most end
  return counter.settled + counter.reserved + needOf(check, output) - check.most
end
local function roomOf(check, asked)
  if check.per == 0 then return asked end
  local left = check.most - check.counter.settled - check.counter.reserved - check.fixed
  -- Fractions: the quotient may be off by one either way. Of larger numbers one less would be the same, for ever.
  local tokens = math.min(math.floor(left / check.per) + 1, ${MOST_TOKENS})
  while tokens > 0 and math.ceil(check.per * tokens) > left do tokens = tokens - 1 end
  return tokens
end
local function resetMsOf(check)
  local reset = resetOf(check.counter, check.missing, check.ends)
  -- There is room in other domains: it is on its way.
  local isElsewhere = check.missing > 0 and check.missing + check.most + check.others <= check.limit
  return isElsewhere and math.min(reset, ${SHARES_MOVE_MS}) or reset
end
local function askForShares(checks, asked)
  for _, check in ipairs(checks) do
    if check.shared then
      local need = check.kind == 'soft' and 1 or needOf(check, asked)
      local used = check.counter.settled + check.counter.reserved
      local least = check.cuts and needOf(check, math.min(asked, ${MIN_OUTPUT_TOKENS})) or need
      local wanted = math.min(used + need, check.limit)
      -- Where the whole limit has no room for it, no share helps.
      if used + least <= check.limit and wanted * 4 > check.most * 3 then ask(check.counter.name, check, wanted) end
    end
  end
end
local function isAbout(check, provider)
  for _, name in ipairs(check.providers or {}) do
    if name == provider then return true end
  end
  return not check.providers and not provider
end
local function isLeftOut(check, leftOut)
  for _, provider in ipairs(check.providers or {}) do
    if not leftOut[provider] then return false end
  end
  return check.providers and true
end
local function decide(checks, providers, asked)
  local least, seen = math.min(asked, ${MIN_OUTPUT_TOKENS}), {}
  for _, check in ipairs(checks) do place(check, seen) end
  local function cut(output, provider)
    for _, check in ipairs(checks) do
      if check.cuts and isAbout(check, provider) then output = math.min(output, roomOf(check, asked)) end
    end
    return math.max(output, least)
  end
  local function hasRoom(provider, output)
    for _, check in ipairs(checks) do
      if isAbout(check, provider) and not check.shadow and missingFor(check, output) > 0 then return false end
    end
    return true
  end
  local output = cut(asked)
  local someProvider = #providers == 0
  for _, provider in ipairs(providers) do someProvider = someProvider or hasRoom(provider, output) end
  if not someProvider then
    -- One output for all of them, so their rules cut it only where no provider has room for the whole.
    local most = -1
    for _, provider in ipairs(providers) do
      local own = cut(output, provider)
      if own > most and hasRoom(provider, own) then most = own end
    end
    if most >= 0 then output, someProvider = most, true end
  end
  local leftOut, refused, found = {}, not someProvider, {}
  for _, check in ipairs(checks) do
    check.missing = missingFor(check, output)
    if check.missing > 0 and not check.shadow then
      refused = refused or not check.providers
      for _, provider in ipairs(check.providers or {}) do leftOut[provider] = true end
    end
  end
  for _, check in ipairs(checks) do
    local verdict = 'allowed'
    if check.missing > 0 then
      verdict = check.shadow and 'would refuse' or check.providers and someProvider and 'left out' or 'refused'
    elseif check.cuts and missingFor(check, asked) > 0 then
      verdict = 'cut'
    end
    local spared = refused or isLeftOut(check, leftOut)
    local settles = not spared and (check.kind == 'hard' or check.kind == 'soft')
    check.reserved = spared and 0 or needOf(check, output)
    found[#found + 1] = { verdict, check.counter.settled + check.others, check.counter.reserved, check.reserved,
      resetMsOf(check), check.period, settles and 1 or 0 }
  end
  return { output = output, refused = refused, leftOut = leftOut, found = found }
end
local function reserve(id, checks)
  local held, any = {}, false
  for _, check in ipairs(checks) do
    local counter = check.counter
    if check.kind == 'count' and check.reserved > 0 and not counter.counted then
      counter.counted = true
      charge(counter, check.reserved, check)
    elseif check.kind == 'hard' then
      -- Rules of several providers may share a counter: only one of them will answer.
      local more = check.reserved - (held[counter.name] or 0)
      if more > 0 then
        held[counter.name], any = check.reserved, true
        counter.reserved = counter.reserved + more
        write(counter, check)
      end
    end
  end
  if any then
    redis.call('HSET', RESERVATIONS, id, cmsgpack.pack(held))
    redis.call('ZADD', LEASES, now + LEASE, id)
  end
end`;

/**
 * Lua of the settlement. `charges` are as limit-codec.ts writes them. A row gives back what is left of its
 * reservation, a failed try takes its amount out of it. What no reservation covers is counted, and returned as the
 * rules that it overran. The rows of a batch share counters: `writeSettled` writes each once, at the end.
 */
export const SETTLE_LIMITS = `
local touched = {}
local function counterOf(name)
  touched[name] = touched[name] or look(name)
  return touched[name]
end
local function settleLimits(id, charges, ends)
  local held = id ~= '' and heldBy(id) or {}
  local before, overrun = next(held), {}
  if before and ends then
    for name, amount in pairs(held) do
      local counter = counterOf(name)
      counter.reserved = math.max(0, counter.reserved - amount)
    end
    redis.call('HDEL', RESERVATIONS, id)
  end
  for _, rule in ipairs(charges ~= '' and cjson.decode(charges) or {}) do
    local counter = counterOf(rule.name)
    local covered = math.min(held[rule.name] or 0, rule.amount)
    if covered > 0 then
      held[rule.name] = held[rule.name] - covered
      if not ends then counter.reserved = math.max(0, counter.reserved - covered) end
    end
    counter.rule, counter.added = rule, (counter.added or 0) + rule.amount
    if rule.reserved and rule.amount > covered then
      counter.beyond = (counter.beyond or 0) + rule.amount - covered
      overrun[#overrun + 1] = string.match(rule.who, '^[^\\31]*')
    end
  end
  if before and not ends then redis.call('HSET', RESERVATIONS, id, cmsgpack.pack(held)) end
  return overrun
end
local function writeSettled(counter)
  if counter.added then
    charge(counter, counter.added, counter.rule)
    if counter.beyond then redis.call('HSET', counter.key, 'overrun', counter.overrun + counter.beyond) end
  elseif counter.about then
    redis.call('HSET', counter.key, 'reserved', counter.reserved)
  end
end`;
