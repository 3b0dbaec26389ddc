-- One member takes part in the election: see `campaign` in election.rs.
--
-- Times are microseconds of the clock of Redis. Lua's numbers have 53 bits, which last until the year 2255. Members are
-- text, because their ids have 64 bits.
local lease, last_epoch, heard, notes, window, view = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local left = KEYS[7]
local member, known, may_lead, note = ARGV[1], tonumber(ARGV[2]), ARGV[3] ~= '', ARGV[4]
local has_view, new_view = ARGV[5] ~= '', ARGV[6]
local lease_ms, gap_ms, view_ttl, members_ttl, epoch_ttl = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local lease_us, gap_us = lease_ms * 1000, gap_ms * 1000
local function text(number) return string.format('%.0f', number) end
local function number(value) return value and tonumber(value) end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The window: since when members have campaigned without a gap. A clock that went back begins a new one.
local times = redis.call('HMGET', window, 'from', 'last')
local from, last = number(times[1]), number(times[2])
local went_back = last and now < last
if not last or went_back or now - last > gap_us then
  from = now
end
redis.call('HSET', window, 'from', text(from), 'last', text(now))
local is_complete = now - from >= lease_us

-- The members. Within the first seconds of a window nobody is dropped: who is silent may only have been cut off.
if went_back then
  for _, early in ipairs(redis.call('ZRANGEBYSCORE', heard, '(' .. text(now), '+inf')) do
    redis.call('ZADD', heard, text(now), early)
  end
end
redis.call('ZADD', heard, text(now), member)
redis.call('HSET', notes, member, note)
if is_complete then
  for _, silent in ipairs(redis.call('ZRANGEBYSCORE', heard, '-inf', '(' .. text(now - lease_us))) do
    redis.call('ZREM', heard, silent)
    redis.call('HDEL', notes, silent)
  end
end
redis.call('PEXPIRE', window, members_ttl)
redis.call('PEXPIRE', heard, members_ttl)
redis.call('PEXPIRE', notes, members_ttl)

-- The lease. It also expires by itself, but the copy of a Redis whose clock is behind would keep it for too long.
local held = redis.call('HMGET', lease, 'member', 'epoch', 'at')
local leader, epoch, at = held[1], number(held[2]), number(held[3])
if leader and went_back and at > now then
  at = now
  redis.call('HSET', lease, 'at', text(now))
end
if leader and (now - at >= lease_us or (known and known > epoch) or (leader == member and not may_lead)) then
  redis.call('DEL', lease)
  leader = false
end
local is_elected = false
if not leader and may_lead then
  local before = math.max(number(redis.call('GET', last_epoch)) or 0, known or 0, epoch or 0)
  epoch = math.max(now, before + 1)
  redis.call('HSET', lease, 'member', member, 'epoch', text(epoch))
  redis.call('SET', last_epoch, text(epoch), 'PX', epoch_ttl)
  leader, is_elected = member, true
end
local told = false
if leader ~= member or is_elected then
  told = redis.call('GET', view)
end
if leader == member then
  redis.call('HSET', lease, 'at', text(now))
  redis.call('PEXPIRE', lease, lease_ms)
  if has_view then
    redis.call('SET', view, new_view, 'PX', view_ttl)
  end
end

return {
  leader or '',
  leader and text(epoch) or '',
  is_elected and 1 or 0,
  is_complete and 1 or 0,
  redis.call('HGETALL', notes),
  redis.call('ZRANGE', left, 0, -1),
  text(now),
  told,
}
