-- Says of admitted messages what is known now: when they were answered at the latest, or that they were not sent.
--
-- Only what is counted for the same attempt changes: what was claimed again meanwhile is counted for its new worker.
--
-- KEYS: calls, the day on which they were admitted, what of it is not known to have arrived, the same two of the next
--       day, then each member of each message.
-- ARGV: days they were counted for (1 or 2), then for each message, packed: its id, its attempt, the last of the days that
--       it still counts for (0 if for none), whether its fate is unknown (1 or 0), whether it was a call (1 or 0), the
--       time to note for its members, the time to note for its call, and the number of its members.
local days = tonumber(ARGV[1])
local fates, ids, gone, counted = {}, {}, {}, {}
for at = 2, #ARGV do
  local id, attempt, last, in_doubt, called, time, called_at, members = struct.unpack('>c16I4BBBI4I4I4', ARGV[at])
  ids[at - 1] = id
  fates[at - 1] = {
    attempt = attempt, last = last, in_doubt = in_doubt == 1, time = time, members = members,
    call = called == 1 and called_at or -1
  }
end
if #ids == 0 then return end

for day = 1, days do
  gone[day], counted[day] = {}, redis.call('hmget', KEYS[2 * day + 1], unpack(ids))
end

local key, returned, limits_calls = 6, {0, 0}, redis.call('exists', KEYS[1]) == 1
for index, fate in ipairs(fates) do
  local noted
  for day = 1, days do
    if counted[day][index] then
      local persons, noted_for_day, attempt = struct.unpack(COUNTED, counted[day][index])
      if attempt == fate.attempt then
        noted = noted_for_day
        if day > fate.last then returned[day] = returned[day] + persons end
        if day <= fate.last and fate.in_doubt then
          redis.call('hset', KEYS[2 * day + 1], ids[index], struct.pack(COUNTED, persons, fate.time, 0))
        else
          gone[day][#gone[day] + 1] = ids[index]
        end
      end
    end
  end
  if noted then
    for member = 0, fate.members - 1 do
      replace(KEYS[key + member], noted, fate.last > 0 and fate.time or -1)
    end
    if limits_calls then replace(KEYS[1], noted, fate.call) end
  end
  key = key + fate.members
end

for day = 1, days do
  if #gone[day] > 0 then redis.call('hdel', KEYS[2 * day + 1], unpack(gone[day])) end
  if returned[day] > 0 and redis.call('exists', KEYS[2 * day]) == 1 then
    redis.call('decrby', KEYS[2 * day], returned[day])
  end
end
