-- Admits what fits into the limits, message by message.
--
-- A message that is admitted and not answered yet counts with a time to come: the last moment at which it can arrive. It
-- is as good as sent now, whatever happens to it. If that moment lies in the next day, it counts for both days.
--
-- A message may be counted already. If it is in doubt, its earlier try counts, and the repetition takes its place: WeCom
-- serves one of them. If not, whoever counted it had only seen it claimed, or could not say that it was not sent: it
-- certainly was not, or nobody could claim it.
--
-- KEYS: epoch, calls, the day, what of it is not known to have arrived, the same two of the next day, then each member
--       of each message.
-- ARGV: now, time to note, minute, hour, messages a minute, messages an hour, person-times a day, calls a minute, days to
--       count for (1 or 2), milliseconds until person-times may be given back, then for each message, packed: its id, its
--       attempt, whether it is in doubt (1 or 0), its person-times and the number of its members.
-- Returns for each message: the limit it meets (0 none, 1 minute, 2 hour, 3 day, 4 calls), milliseconds to wait (of a
-- day: 0 if it waits for its end), which of its members; or -1 and the run of Redis where the counters belong to another.
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
if redis.call('get', KEYS[1]) ~= run then return {-1, run} end
local now, noted = tonumber(ARGV[1]), tonumber(ARGV[2])
local minute, hour = tonumber(ARGV[3]), tonumber(ARGV[4])
local per_minute, per_hour = tonumber(ARGV[5]), tonumber(ARGV[6])
local per_day, calls_per_minute = tonumber(ARGV[7]), tonumber(ARGV[8])
local days, soon = tonumber(ARGV[9]), tonumber(ARGV[10])
local first, at_once = 11, 1000
local under_way = (noted - now) % 4294967296
local shortest_wait = 1000

local function age_of(time)
  local age = (now - time) % 4294967296
  return age >= 2147483648 and age - 4294967296 or age
end

-- Ages of what counts, the youngest first; what is under way has an age below 0. One time may be left out.
local function ages(key, longest, left_out)
  local stored, found = redis.call('get', key) or '', {}
  for at = 1, #stored, 4 do
    local time = struct.unpack('>I4', stored, at)
    if time == left_out then
      left_out = nil
    else
      local age = age_of(time)
      if age < longest then found[#found + 1] = age end
    end
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

local messages = {}
for at = first, #ARGV do
  local id, attempt, in_doubt, persons, members = struct.unpack('>c16I4BI4I4', ARGV[at])
  messages[#messages + 1] = {
    id = id, attempt = attempt, in_doubt = in_doubt == 1, persons = persons, members = members
  }
end

local used, gone, added, needed, own, taken_back = {}, {}, {}, {}, {}, {}

-- Looks up what is counted already, and takes back what was counted of messages that were certainly not sent.
for day = 1, days do
  used[day] = tonumber(redis.call('get', KEYS[1 + 2 * day]) or '0')
  gone[day], added[day], needed[day] = {}, {}, {}
  local key = 7
  for from = 1, #messages, at_once do
    local ids = {}
    for index = from, math.min(from + at_once - 1, #messages) do ids[#ids + 1] = messages[index].id end
    for nth, counted in ipairs(redis.call('hmget', KEYS[2 + 2 * day], unpack(ids))) do
      local index = from + nth - 1
      local message = messages[index]
      if counted then
        local persons, time, attempt = struct.unpack(COUNTED, counted)
        if attempt == message.attempt and not taken_back[index] then replace(KEYS[2], time, -1) end
        if message.in_doubt then
          needed[day][index], own[index] = 0, time
        else
          gone[day][#gone[day] + 1] = message.id
          -- A person had it sent again although it may have arrived: then both count.
          if attempt > 0 then
            used[day] = math.max(used[day] - persons, 0)
            for member = 0, taken_back[index] and -1 or message.members - 1 do
              replace(KEYS[key + member], time, -1)
            end
          end
        end
        taken_back[index] = true
      end
      key = key + message.members
    end
  end
end

-- Person-times of today that are given back if what is under way should not be sent.
local may_come_back
local function person_times_under_way()
  if not may_come_back then
    may_come_back = 0
    for _, counted in ipairs(redis.call('hvals', KEYS[4])) do
      local persons, time, attempt = struct.unpack(COUNTED, counted)
      if attempt > 0 and age_of(time) < 0 then may_come_back = may_come_back + persons end
    end
  end
  return may_come_back
end

local calls = calls_per_minute > 0 and ages(KEYS[2], minute) or {}
local verdicts, key, admitted, waiting = {}, 7, 0, 0
for index, message in ipairs(messages) do
  local persons, members = message.persons, message.members
  local limit, wait, who, seen = 0, 0, 0, {}
  for day = days, 1, -1 do
    local more = needed[day][index] or persons
    if per_day > 0 and more > 0 and used[day] + more > per_day then
      limit, wait = 3, soon
      if day == 1 and not message.in_doubt then
        if used[1] - person_times_under_way() - admitted + waiting + more > per_day then wait = 0 end
        waiting = waiting + more
      end
    end
  end
  if limit == 0 and wait_for(calls, calls_per_minute, minute) > 0 then
    limit, wait = 4, wait_for(calls, calls_per_minute, minute)
  elseif limit == 0 then
    for member = 1, members do
      local found = ages(KEYS[key + member - 1], hour, own[index])
      seen[member] = found
      local by_minute, by_hour = wait_for(found, per_minute, minute), wait_for(found, per_hour, hour)
      if by_minute > wait then limit, wait, who = 1, by_minute, member end
      if by_hour > wait then limit, wait, who = 2, by_hour, member end
    end
  end
  if limit == 0 then
    for member = 1, members do note(KEYS[key + member - 1], seen[member], hour) end
    local counted = struct.pack(COUNTED, persons, noted, message.attempt)
    for day = 1, days do
      used[day] = used[day] + (needed[day][index] or persons)
      added[day][#added[day] + 1] = message.id
      added[day][#added[day] + 1] = counted
    end
    if calls_per_minute > 0 then
      note(KEYS[2], calls, minute)
      table.insert(calls, 1, -under_way)
    end
    admitted = admitted + (needed[1][index] or persons)
  end
  verdicts[#verdicts + 1] = limit
  verdicts[#verdicts + 1] = wait
  verdicts[#verdicts + 1] = who
  key = key + members
end

for day = 1, days do
  local total, counted = KEYS[1 + 2 * day], KEYS[2 + 2 * day]
  for from = 1, #gone[day], 2 * at_once do
    redis.call('hdel', counted, unpack(gone[day], from, math.min(from + 2 * at_once - 1, #gone[day])))
  end
  for from = 1, #added[day], 2 * at_once do
    redis.call('hset', counted, unpack(added[day], from, math.min(from + 2 * at_once - 1, #added[day])))
  end
  if #gone[day] + #added[day] > 0 then
    redis.call('set', total, used[day], 'ex', 172800)
    redis.call('expire', counted, 172800)
  end
end
return verdicts
