-- A member leaves. If it leads, another one can take the lease at once.
local lease, heard, notes, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local member, left_ttl, left_max = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', lease, 'member') == member then
  redis.call('DEL', lease)
end
redis.call('ZREM', heard, member)
redis.call('HDEL', notes, member)
-- The next leader need not wait for it.
redis.call('ZADD', left, redis.call('TIME')[1], member)
redis.call('ZREMRANGEBYRANK', left, 0, -left_max - 1)
redis.call('PEXPIRE', left, left_ttl)
