/**
 * A circuit that nobody came to try for ten minutes after it may be tried, or whose failures are that long ago, is
 * forgotten.
 */
const FORGET_MS = 600_000;
/** At each failed probe a circuit stays open twice as long, at most this many times as long as at first. */
const LONGEST_GROWTH = 10;

/**
 * Circuits in the hash `circuits`: only those that are not closed and clean have a field, so that a settled
 * success costs one EXISTS. JSON of a circuit, times in ms:
 *
 * - failures: failed tries in a row
 * - open: until when nobody may try it, 0 where it is closed; behind that time it waits for its probe
 * - length: how long it was opened for
 * - probe: id of the last request that was let through to try it, and lease: until when the others wait for it
 * - last: the failed try that was counted last, so that none counts twice: request id and ordinal
 * - changed: when
 *
 * One that cannot be read is none: an error here would hold up every row.
 */
export const CIRCUITS = (key: string) => `
local function readCircuit(provider)
  local text = redis.call('HGET', ${key}, provider)
  if not text then return nil end
  local readable, circuit = pcall(cjson.decode, text)
  if not readable or type(circuit) ~= 'table' then return nil end
  for _, field in ipairs({ 'failures', 'open', 'length', 'lease', 'changed' }) do
    if type(circuit[field]) ~= 'number' then return nil end
  end
  if math.max(circuit.changed, circuit.open) + ${FORGET_MS} < now then return nil end
  return circuit
end
local function writeCircuit(provider, circuit)
  redis.call('HSET', ${key}, provider, cjson.encode(circuit))
end`;

/** Lua that moves circuits. Needs `now` and CIRCUITS. The others say where failures that open one, and ms for which, are. */
export const LEARN = (key: string, failures: string, milliseconds: string) => `
local threshold, openFor = tonumber(${failures}), tonumber(${milliseconds})
local function succeed(provider, request, admitted)
  local circuit = readCircuit(provider)
  if circuit and (circuit.open == 0 or circuit.probe == request or admitted >= circuit.open) then
    redis.call('HDEL', ${key}, provider)
  end
end

local function fail(provider, request, ordinal, pause)
  local circuit = readCircuit(provider)
    or { failures = 0, open = 0, length = 0, probe = '', lease = 0, last = '', changed = 0 }
  local try = request .. '/' .. ordinal
  if circuit.last == try then return end
  if pause > 0 then
    circuit.open = math.max(circuit.open, now + pause)
    if circuit.length == 0 then circuit.length = openFor end
  elseif circuit.open == 0 then
    if circuit.failures + 1 >= threshold then
      circuit.open = now + openFor
      circuit.length = openFor
    end
  elseif circuit.probe == request then
    circuit.length = math.min(circuit.length * 2, openFor * ${LONGEST_GROWTH})
    circuit.open = now + circuit.length
  else
    return
  end
  if circuit.probe == request then circuit.lease = 0 end
  circuit.failures = circuit.failures + 1
  circuit.last = try
  circuit.changed = now
  writeCircuit(provider, circuit)
end

-- Of a batch there are many rows, and of tenants many circuits: they are gone through once. Settling takes no probes.
local probes
local function probesOf(request)
  if not probes then
    probes = {}
    for _, name in ipairs(redis.call('HKEYS', ${key})) do
      local circuit = readCircuit(name)
      if not circuit then
        redis.call('HDEL', ${key}, name)
      elseif circuit.probe and circuit.lease > 0 then
        local held = probes[circuit.probe] or {}
        held[#held + 1] = name
        probes[circuit.probe] = held
      end
    end
  end
  return probes[request] or {}
end
local function giveBack(provider, request)
  for _, name in ipairs(probesOf(request)) do
    local circuit = name ~= provider and readCircuit(name)
    if circuit and circuit.probe == request and circuit.lease > 0 then
      circuit.lease = 0
      writeCircuit(name, circuit)
    end
  end
end`;

/** How the circuits stand; see `createLedgerScripts` (ledger-scripts.ts). */
export function circuitsSource(clock: string): string {
  return `${clock}${CIRCUITS('KEYS[1]')}
local found = {}
for _, provider in ipairs(redis.call('HKEYS', KEYS[1])) do
  local circuit = readCircuit(provider)
  if circuit then
    local state = circuit.open == 0 and 'closed' or now < circuit.open and 'open' or 'probing'
    found[#found + 1] = provider
    found[#found + 1] = state
    found[#found + 1] = circuit.failures
    found[#found + 1] = math.max(0, circuit.open - now, circuit.lease - now)
  end
end
return found`;
}
