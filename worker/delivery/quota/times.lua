-- A time is 32 bits of milliseconds, in a text of such times for each member; only differences within an hour matter, so
-- that the overflow every 49 days does not.
--
-- What is counted and not known to have arrived stands in a hash of its day, by the id of its message: its person-times,
-- the time noted for its members, and the attempt that sends it, or 0 if nobody does and its fate is unknown.
local COUNTED = '>I4I4I4'

-- Puts another time in the place of one that was noted, or none if it is below 0.
local function replace(key, noted, instead)
  local stored = redis.call('get', key)
  if not stored then return end
  local packed = struct.pack('>I4', noted)
  for at = 1, #stored, 4 do
    if string.sub(stored, at, at + 3) == packed then
      stored = string.sub(stored, 1, at - 1) .. string.sub(stored, at + 4)
      if instead >= 0 then stored = stored .. struct.pack('>I4', instead) end
      break
    end
  end
  if stored == '' then redis.call('del', key) else redis.call('set', key, stored, 'keepttl') end
end
