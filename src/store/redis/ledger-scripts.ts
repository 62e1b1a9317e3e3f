import { MAX_KEPT_BYTES } from '../../core/ledger.ts';
import { CIRCUITS, circuitsSource, LEARN } from './circuit-scripts.ts';
import { ADMIT_LIMITS, COUNT, SETTLE_LIMITS } from './limit-scripts.ts';
import { NOW, RedisScript } from './scripts.ts';

/** The last batch of a worker that is gone is forgotten after a day. */
const BATCH_KEPT_MS = 86_400_000;
/** A worker that was only stuck may come so long after its request was recovered. */
const RECOVERED_KEPT_MS = 86_400_000;
/** A failed try may be told twice for so many leases: by a worker, and by the recovery. */
const TRY_KEPT_LEASES = 4;

/** The one call before the upstream; see `createLedgerScripts`. */
function admitSource(clock: string): string {
  const keys = { leases: 'KEYS[3]', reservations: 'KEYS[4]', counters: 'KEYS[5]', alerts: 'KEYS[6]' };
  return `${clock}${CIRCUITS('KEYS[2]')}${COUNT(keys, 'ARGV[7]')}${ADMIT_LIMITS}
local providers = {}
for index = 13, #ARGV do providers[#providers + 1] = ARGV[index] end
local keeps = ARGV[5] ~= ''
local wants = #KEYS == (keeps and 8 or 7)
local found = wants and redis.call('GET', KEYS[7])
local again = ARGV[12] ~= ''
if again then
  redis.call('XDEL', KEYS[1], ARGV[12])
  redis.call('ZREM', LEASES, ARGV[12])
  release(ARGV[12])
end
local full = redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3])
local checks = ARGV[8] ~= '' and not full and cjson.decode(ARGV[8]) or {}
local decision = { output = tonumber(ARGV[9]), refused = false, leftOut = {}, found = {} }
if #checks > 0 then
  freeLapsed()
  if found and ARGV[10] == '1' then
    for _, check in ipairs(checks) do
      if check.kind ~= 'count' then check.kind, check.cuts = 'idle', false end
    end
  end
  if again then
    for _, check in ipairs(checks) do
      if check.kind == 'count' then check.kind = 'idle' end
    end
  end
  decision = decide(checks, providers, decision.output)
  askForShares(checks, tonumber(ARGV[9]))
end
if decision.refused then return { '', false, {}, decision.output, decision.found } end
local id = ''
if not full then
  id = redis.call('XADD', KEYS[1], '*', 'request', ARGV[1], 'intent', ARGV[2])
  reserve(id, checks)
end
if keeps and (found or not wants) then
  local kept = (found or '') .. ARGV[6]
  if #kept <= ${MAX_KEPT_BYTES} then redis.call('SET', KEYS[#KEYS], kept, 'PX', ARGV[5]) end
end
local waits = {}
local clean = ARGV[11] ~= '1' or redis.call('EXISTS', KEYS[2]) == 0
for _, provider in ipairs(clean and {} or providers) do
  local wait = 0
  local circuit = not decision.leftOut[provider] and readCircuit(provider)
  if circuit and circuit.open > 0 then
    wait = math.max(circuit.open, circuit.lease) - now
    if wait <= 0 or again and circuit.probe == ARGV[1] and circuit.open <= now then
      wait = 0
      circuit.probe = ARGV[1]
      circuit.lease = now + ARGV[4]
      writeCircuit(provider, circuit)
    end
  end
  waits[#waits + 1] = wait
end
return { id, found, waits, decision.output, decision.found }`;
}

/** The one call after; see `createLedgerScripts`. */
function settleSource(clock: string): string {
  const keys = { leases: 'KEYS[3]', reservations: 'KEYS[5]', counters: 'KEYS[6]', alerts: 'KEYS[7]' };
  return `${clock}${CIRCUITS('KEYS[4]')}${LEARN('KEYS[4]', 'ARGV[2]', 'ARGV[3]')}${COUNT(keys, 'ARGV[5]')}${SETTLE_LIMITS}
if tonumber(redis.call('GET', KEYS[8]) or 0) >= tonumber(ARGV[4]) then return { {}, 0 } end
if redis.call('XLEN', KEYS[1]) + (#ARGV - 5) / 6 > tonumber(ARGV[1]) then return -1 end
redis.call('SET', KEYS[8], ARGV[4], 'PX', ${BATCH_KEPT_MS})
local problems = {}
local function attempt(action, ...)
  local done, result = pcall(action, ...)
  if done then return result end
  problems[#problems + 1] = tostring(type(result) == 'table' and result.err or result)
end
local function isFirst(name, ms)
  redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', now)
  local added = redis.call('ZADD', KEYS[9], 'NX', now + ms, name)
  redis.call('PEXPIRE', KEYS[9], ${RECOVERED_KEPT_MS})
  return added == 1
end
local function isSettled(kind, id, once)
  if kind == 'attempt' then return once ~= '' and not isFirst(once, ${TRY_KEPT_LEASES} * LEASE) end
  if id == '' then return false end
  redis.call('ZREM', KEYS[3], id)
  -- What is no id here (it may be of a limit domain that is gone) is not open here.
  if redis.pcall('XDEL', KEYS[2], id) ~= 1 then
    return kind == 'recovered' or redis.call('ZSCORE', KEYS[9], id)
  end
  if kind == 'recovered' then isFirst(id, ${RECOVERED_KEPT_MS}) end
  return false
end
local function settle(kind, json, id, lesson, charges)
  local overrun = attempt(settleLimits, id, charges, kind == 'row') or {}
  if #overrun > 0 then
    redis.call('XADD', KEYS[1], '*', kind, json, 'overrun', cjson.encode(overrun))
  else
    redis.call('XADD', KEYS[1], '*', kind, json)
  end
  local verdict, pause, request, ordinal, provider = string.match(lesson, '^(%a+) (%d+) (%S+) (%d+) (.*)$')
  if verdict == 'failure' then fail(provider, request, ordinal, tonumber(pause)) end
  if verdict and redis.call('EXISTS', KEYS[4]) == 1 then
    if verdict == 'success' then succeed(provider, request, tonumber(string.match(id, '^%d+') or 0)) end
    if kind == 'row' then giveBack(verdict ~= 'none' and provider or nil, request) end
  end
end
local left = 0
local function take(kind, json, id, lesson, charges, once)
  if isSettled(kind, id, once) then
    left = left + 1
  elseif kind == 'withdrawn' then
    attempt(settleLimits, id, '', true)
  else
    settle(kind == 'recovered' and 'row' or kind, json, id, lesson, charges)
  end
end
-- The batch counts as done from here on: what fails must not take the others with it.
for index = 6, #ARGV, 6 do attempt(take, unpack(ARGV, index, index + 5)) end
for _, counter in pairs(touched) do attempt(writeSettled, counter) end
return { problems, left }`;
}

/** Signs of life; see `createLedgerScripts`. */
function renewSource(clock: string): string {
  const keys = { leases: 'KEYS[2]', reservations: 'KEYS[3]', counters: 'KEYS[4]', alerts: 'nil' };
  return `${clock}${COUNT(keys, 'ARGV[1]')}
-- Out of memory, Redis refuses what may grow unless something that cannot was written before. Signs of life must go
-- through: or every stream of that time would count as dead.
redis.call('ZREM', LEASES, '')
local renewed = 0
for index = 2, #ARGV do
  local id = ARGV[index]
  -- Whatever is no id here is an error, which has no entries: the others are renewed all the same.
  if #redis.pcall('XRANGE', KEYS[1], id, id) == 1 then
    redis.call('ZADD', LEASES, now + LEASE, id)
    for name in pairs(heldBy(id) or {}) do outlive(name) end
    renewed = renewed + 1
  end
end
return renewed`;
}

/** What the reconciler does; see `createLedgerScripts`. */
function closeSource(clock: string): string {
  const keys = { leases: 'KEYS[3]', reservations: 'KEYS[4]', counters: 'KEYS[5]', alerts: 'nil' };
  return `${clock}${COUNT(keys, 'ARGV[1]')}
local room = ARGV[2] - redis.call('XLEN', KEYS[1])
local closed = 0
for index = 3, #ARGV, 2 do
  local id = ARGV[index + 1]
  local lease = redis.call('ZSCORE', LEASES, id)
  local age = now - tonumber(string.match(id, '^%d+'))
  if closed < room and age >= tonumber(ARGV[1]) and (not lease or tonumber(lease) <= now)
    and redis.call('XDEL', KEYS[2], id) == 1 then
    if ARGV[index] ~= '' then redis.call('XADD', KEYS[1], '*', 'row', ARGV[index]) end
    redis.call('ZREM', LEASES, id)
    release(id)
    closed = closed + 1
  end
end
return closed`;
}

/**
 * The scripts of the ledger that judge time.
 *
 * @param clock Lua that sets `now`: the server's own but in tests
 */
export function createLedgerScripts(clock = NOW) {
  return {
    /**
     * KEYS: intents, circuits, leases, reservations, counters, alerts, the kept answer that is wanted, if any, and
     * where something is to be kept, if anywhere. ARGV: request id, intent (JSON), most open intents, ms for which a
     * probe is waited for, ms for which something is kept (or empty) and what, ms of a lease, checks (limit-codec.ts,
     * or empty), tokens of output that are asked for, 1 where what is wanted spares the upstream, 1 where circuits
     * count, the intent in whose place this one comes (it goes, and rules on requests have counted it) or nothing, then
     * providers. Something is kept after what was wanted, and not at all where that is gone.
     *
     * Returns the intent's id (empty where too many are open, or a rule refused), the kept answer or nil, for each
     * provider the ms to keep away from it (nothing where all are well), the tokens of output, and of each check
     * verdict, used, held, reserved, ms to its reset, the number of its period and 1 where it is to be settled (nothing where too many intents
     * are open: then no rule was looked at). A circuit whose time is over answers 0 to one request, its probe, and
     * the others wait for that. Where a rule refused, nothing was written at all, but that lapsed reservations were freed,
     * more of a shared limit was asked for, and the intent went in whose place this one would have come.
     */
    admit: new RedisScript(admitSource(clock)),
    /**
     * KEYS: rows, intents, leases, circuits, reservations, counters, alerts, the last batch of this worker, what was
     * settled and may come again. ARGV: most waiting rows, failures that open a circuit, ms for which, number of the
     * batch, ms of a lease, then in turn kind (row, attempt, recovered, withdrawn), JSON, intent id (or empty), what the circuit of
     * its provider learns: `VERDICT PAUSE REQUEST ORDINAL PROVIDER` (success, failure or none; ms; ids; name) or nothing,
     * charges (limit-codec.ts) or nothing, and the name under which an attempt counts once, or nothing. Returns why
     * items or charges failed, in words (no other is held up by that), and how many items were left out; or -1 where
     * the rows do not fit: then nothing was done. A batch that comes again does nothing, nor does one whose number is
     * behind that of the last one: it was on its way through a connection that is gone.
     *
     * A row counts whether or not its intent is still open (it may come after its lease), but for one that was
     * recovered. A recovered row counts where its intent is open, and nowhere else. What is withdrawn has no row: its
     * intent goes, and what it reserved is free.
     *
     * A success counts where its request came after the circuit might be tried again. A row of a request that held
     * a probe and went elsewhere, or tells nothing of the provider, gives the probe back.
     */
    settle: new RedisScript(settleSource(clock)),
    /**
     * Marks open requests as alive. KEYS: intents, leases, reservations, counters. ARGV: lease in ms, then intent ids.
     * An intent that was settled meanwhile gets no lease, so leases never outlive their intents; a counter outlives
     * what is reserved in it. Returns how many were renewed.
     */
    renew: new RedisScript(renewSource(clock)),
    /**
     * Puts rows in the place of intents that are still open and still lapsed, and frees what they reserved. KEYS: rows,
     * intents, leases, reservations, counters. ARGV: lease in ms, most waiting rows, then row (JSON, or empty: it goes
     * without one) and intent id in turn. Returns how many.
     */
    close: new RedisScript(closeSource(clock)),
    /** KEYS: circuits. Returns provider, state, failures and ms until somebody may try, in turn. */
    circuits: new RedisScript(circuitsSource(clock)),
  };
}

export const {
  admit: ADMIT,
  settle: SETTLE,
  renew: RENEW,
  close: CLOSE,
  circuits: CIRCUIT_STATES,
} = createLedgerScripts();
