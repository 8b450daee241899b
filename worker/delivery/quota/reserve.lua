-- Admits what fits into the limits, message by message.
--
-- A time is 32 bits of milliseconds, in a text of such times for each member; only differences within an hour matter, so
-- that the overflow every 49 days does not. A message that is admitted and not answered yet counts with a time to come:
-- the last moment at which it can arrive. It is as good as sent now, whatever happens to it.
--
-- KEYS: epoch, day, calls, then each member of each message.
-- ARGV: now, time to note, minute, hour, messages a minute, messages an hour, person-times a day, calls a minute,
--       then for each message its person-times and the number of its members.
-- Returns for each message: the limit it meets (0 none, 1 minute, 2 hour, 3 day, 4 calls), milliseconds to wait, which
-- of its members; or -1 and the run of Redis where the counters belong to another run.
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
if redis.call('get', KEYS[1]) ~= run then return {-1, run} end
local now, noted = tonumber(ARGV[1]), tonumber(ARGV[2])
local minute, hour = tonumber(ARGV[3]), tonumber(ARGV[4])
local per_minute, per_hour = tonumber(ARGV[5]), tonumber(ARGV[6])
local per_day, calls_per_minute = tonumber(ARGV[7]), tonumber(ARGV[8])
local used_today = tonumber(redis.call('get', KEYS[2]) or '0')
local under_way = (noted - now) % 4294967296
local shortest_wait = 1000

-- Ages of what counts, the youngest first; what is under way has an age below 0.
local function ages(key, longest)
  local stored, found = redis.call('get', key) or '', {}
  for at = 1, #stored, 4 do
    local age = (now - struct.unpack('>I4', stored, at)) % 4294967296
    if age >= 2147483648 then age = age - 4294967296 end
    if age < longest then found[#found + 1] = age end
  end
  table.sort(found)
  return found
end

-- What is under way will most likely have been answered soon after it was admitted.
local function wait_for(found, limit, window)
  if limit == 0 or #found < limit or found[limit] >= window then return 0 end
  local age = found[limit]
  if age < 0 then age = math.max(age + under_way, 0) end
  return math.max(window - age, shortest_wait)
end

local function note(key, found, longest)
  local packed = {}
  for i = #found, 1, -1 do packed[#packed + 1] = struct.pack('>I4', (now - found[i]) % 4294967296) end
  packed[#packed + 1] = struct.pack('>I4', noted)
  redis.call('set', key, table.concat(packed), 'px', longest + under_way)
end

local calls = calls_per_minute > 0 and ages(KEYS[3], minute) or {}
local verdicts, key, admitted = {}, 4, 0
for at = 9, #ARGV, 2 do
  local persons, members = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local limit, wait, who, seen = 0, 0, 0, {}
  if per_day > 0 and used_today + persons > per_day then
    limit = 3
  elseif wait_for(calls, calls_per_minute, minute) > 0 then
    limit, wait = 4, wait_for(calls, calls_per_minute, minute)
  else
    for member = 1, members do
      local found = ages(KEYS[key + member - 1], hour)
      seen[member] = found
      local by_minute, by_hour = wait_for(found, per_minute, minute), wait_for(found, per_hour, hour)
      if by_minute > wait then limit, wait, who = 1, by_minute, member end
      if by_hour > wait then limit, wait, who = 2, by_hour, member end
    end
  end
  if limit == 0 then
    for member = 1, members do note(KEYS[key + member - 1], seen[member], hour) end
    used_today = used_today + persons
    if calls_per_minute > 0 then
      note(KEYS[3], calls, minute)
      table.insert(calls, 1, -under_way)
    end
    admitted = admitted + 1
  end
  verdicts[#verdicts + 1] = limit
  verdicts[#verdicts + 1] = wait
  verdicts[#verdicts + 1] = who
  key = key + members
end
if admitted > 0 then redis.call('set', KEYS[2], used_today, 'ex', 172800) end
return verdicts
