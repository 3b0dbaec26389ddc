-- A member leaves. If it leads, another one can take the lease at once.
local lease, heard, notes, member = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
if redis.call('HGET', lease, 'member') == member then
  redis.call('DEL', lease)
end
redis.call('ZREM', heard, member)
redis.call('HDEL', notes, member)
