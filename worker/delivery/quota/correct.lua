-- Says of admitted messages what is known now: when they were answered at the latest, or that they were not sent.
--
-- KEYS: the day on which they were admitted, the day on which they were answered, then what they were counted for
--       (members, calls), each as often as it was counted.
-- ARGV: person-times to take from the first day, person-times to count on the second, the time noted when they were
--       admitted, then for each further key the time to note instead, or -1 for none.
if tonumber(ARGV[1]) > 0 and redis.call('exists', KEYS[1]) == 1 then redis.call('decrby', KEYS[1], ARGV[1]) end
if tonumber(ARGV[2]) > 0 then
  redis.call('incrby', KEYS[2], ARGV[2])
  redis.call('expire', KEYS[2], 172800)
end
local noted = struct.pack('>I4', tonumber(ARGV[3]))
for counted = 4, #ARGV do
  local key, instead = KEYS[counted - 1], tonumber(ARGV[counted])
  local stored = redis.call('get', key)
  if stored then
    for at = 1, #stored, 4 do
      if string.sub(stored, at, at + 3) == noted then
        stored = string.sub(stored, 1, at - 1) .. string.sub(stored, at + 4)
        if instead >= 0 then stored = stored .. struct.pack('>I4', instead) end
        break
      end
    end
    if stored == '' then redis.call('del', key) else redis.call('set', key, stored, 'keepttl') end
  end
end
