-- Stores what was counted anew, if whoever counted still has the lock and Redis has not been restarted since.
--
-- A flush takes the lock with it, so that nothing is stored after it of what was counted before.
--
-- KEYS: the lock, then where to store.
-- ARGV: the owner of the lock, milliseconds for which it is taken again, the run of Redis, then for each key the
--       milliseconds it is kept (0: for good), the field of a hash (or nothing) and the value (nothing: none is kept).
-- Returns 1, or 0 if nothing was stored.
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
if redis.call('get', KEYS[1]) ~= ARGV[1] or run ~= ARGV[3] then return 0 end
redis.call('pexpire', KEYS[1], ARGV[2])
local nth = 2
for at = 4, #ARGV, 3 do
  local key, kept, field, value = KEYS[nth], tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  if value == '' then
    redis.call('del', key)
  elseif field ~= '' then
    redis.call('hset', key, field, value)
    redis.call('pexpire', key, kept)
  elseif kept > 0 then
    redis.call('set', key, value, 'px', kept)
  else
    redis.call('set', key, value)
  end
  nth = nth + 1
end
return 1
