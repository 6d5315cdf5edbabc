-- Takes a batch of demands and settlements in one step, as `gateway/counters.py` describes them, and answers the demands.
--
-- KEYS[1]: what every key begins with.
-- ARGV[1]: MessagePack of {worker, number, again, now_ms, beat, held, operations}: `again` tells that the batch was sent
--   before; `now_ms` 0 is this server's time; with `beat` the worker tells that it lives, and in `held` how many requests
--   it has in flight, as {contract, model, count}.
-- Gives MessagePack of {number, verdicts}. Numbers are doubles here: money is exact up to 9 million.
--
-- Keys: window:CONTRACT:MODEL   start, requests, input, output: what is used since `start` (ms)
--       in_flight:CONTRACT:MODEL   of each worker, the requests it has in flight
--       spent:CONTRACT:MONTH   1e-9 of the currency
--       worker:WORKER   there while the worker lives; without it, its requests in flight do not count
--       batch:WORKER   number and answer of its last batch: one that comes again is not taken again

local WINDOW_MS = 60000
local LEASE_MS = 15000
local IN_FLIGHT_KEPT_MS = 60000
local BATCH_KEPT_S = 86400
local SPENT_KEPT_S = 35 * 86400

local prefix = KEYS[1]
local worker, number, again, now, beat, held, operations = unpack(cmsgpack.unpack(ARGV[1]))
local batch_key = prefix .. 'batch:' .. worker

-- One that was given up may still come, on its old connection, when the next has been taken.
local last = tonumber(redis.call('HGET', batch_key, 'number'))
if last and last >= number then
  return redis.call('HGET', batch_key, 'answer')
end
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What the batch touches is read once and written once.
local windows, flights, accounts, living = {}, {}, {}, {}

local function begin(window)
  window.start, window.requests, window.input, window.output = now, 0, 0, 0
end

local function window_of(name)
  local window = windows[name]
  if not window then
    local kept = redis.call('HMGET', prefix .. 'window:' .. name, 'start', 'requests', 'input', 'output')
    window = { start = tonumber(kept[1]), requests = tonumber(kept[2]), input = tonumber(kept[3]), output = tonumber(kept[4]) }
    if not window.start or now - window.start >= WINDOW_MS or now < window.start then
      begin(window)
    end
    windows[name] = window
  end
  return window
end

local function lives(other)
  if living[other] == nil then
    living[other] = redis.call('EXISTS', prefix .. 'worker:' .. other) == 1
  end
  return living[other]
end

local function flight_of(name)
  local flight = flights[name]
  if not flight then
    flight = { mine = 0, others = 0 }
    local key = prefix .. 'in_flight:' .. name
    local kept = redis.call('HGETALL', key)
    for place = 1, #kept, 2 do
      if kept[place] == worker then
        flight.mine = tonumber(kept[place + 1])
      elseif lives(kept[place]) then
        flight.others = flight.others + tonumber(kept[place + 1])
      else
        redis.call('HDEL', key, kept[place])
      end
    end
    flights[name] = flight
  end
  return flight
end

local function account_of(name)
  local account = accounts[name]
  if not account then
    account = { spent = tonumber(redis.call('GET', prefix .. 'spent:' .. name)) }
    accounts[name] = account
  end
  return account
end

local function reserve(operation)
  local _, contract, model, requests_limit, input_limit, output_limit, in_flight_limit, input, output =
    unpack(operation, 1, 9)
  local budget, month, cost, seed = operation[10], operation[11], operation[12], operation[13]
  local name = contract .. ':' .. model
  local window = window_of(name)
  local flight = in_flight_limit and flight_of(name)
  local in_flight = flight and flight.mine + flight.others or 0
  local account = budget and account_of(contract .. ':' .. month)
  if account and not account.spent and seed then
    account.spent, account.changed = seed, true
  end
  local refused = ''
  if account and not account.spent then
    refused = 'unseeded'
  elseif account and account.spent + cost > budget then
    refused = 'budget'
  elseif requests_limit and window.requests + 1 > requests_limit then
    refused = 'requests'
  elseif input_limit and window.input + input > input_limit then
    refused = 'input_tokens'
  elseif output_limit and window.output + output > output_limit then
    refused = 'output_tokens'
  elseif in_flight_limit and in_flight + 1 > in_flight_limit then
    refused = 'in_flight'
  else
    window.requests, window.input, window.output = window.requests + 1, window.input + input, window.output + output
    window.changed = true
    if flight then
      flight.mine, flight.changed = flight.mine + 1, true
      in_flight = in_flight + 1
    end
    if account then
      account.spent, account.changed = account.spent + cost, true
    end
  end
  return { refused, window.start, now, window.requests, window.input, window.output, in_flight }
end

local function settle(operation)
  local _, contract, model, start, input, output, in_flight, month, cost = unpack(operation, 1, 9)
  local name = contract .. ':' .. model
  local window = window_of(name)
  if window.start == start then
    window.input, window.output, window.changed = window.input + input, window.output + output, true
  end
  if in_flight then
    local flight = flight_of(name)
    flight.mine, flight.changed = math.max(0, flight.mine - 1), true
  end
  if month then
    local account = account_of(contract .. ':' .. month)
    if account.spent then
      account.spent, account.changed = account.spent + cost, true
    end
  end
end

if beat then
  redis.call('SET', prefix .. 'worker:' .. worker, 1, 'PX', LEASE_MS)
  for _, one in ipairs(held) do
    local flight = flight_of(one[1] .. ':' .. one[2])
    flight.mine, flight.changed = one[3], true
  end
end

local verdicts = {}
for _, operation in ipairs(operations) do
  if operation[1] == 1 then
    -- Who asked in a batch that comes again was told long ago that the store is away.
    verdicts[#verdicts + 1] = again and { 'late', now, now, 0, 0, 0, 0 } or reserve(operation)
  else
    settle(operation)
  end
end

for name, window in pairs(windows) do
  if window.changed then
    local key = prefix .. 'window:' .. name
    redis.call('HSET', key, 'start', window.start, 'requests', window.requests, 'input', window.input, 'output', window.output)
    redis.call('PEXPIRE', key, WINDOW_MS)
  end
end
for name, flight in pairs(flights) do
  if flight.changed then
    local key = prefix .. 'in_flight:' .. name
    if flight.mine > 0 then
      redis.call('HSET', key, worker, flight.mine)
      redis.call('PEXPIRE', key, IN_FLIGHT_KEPT_MS)
    else
      redis.call('HDEL', key, worker)
    end
  end
end
for name, account in pairs(accounts) do
  if account.changed then
    redis.call('SET', prefix .. 'spent:' .. name, string.format('%.0f', account.spent), 'EX', SPENT_KEPT_S)
  end
end

local answer = cmsgpack.pack({ number, verdicts })
redis.call('HSET', batch_key, 'number', number, 'answer', answer)
redis.call('EXPIRE', batch_key, BATCH_KEPT_S)
return answer
