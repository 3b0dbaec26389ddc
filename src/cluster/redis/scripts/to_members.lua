-- Appends messages of a leader to the streams of members, if its lease still runs. Returns whether it does.
-- The first key is the lease. Each further key is the stream of the argument at the same place after the first five.
local leader, epoch, lease_us, entries_max, ttl = ARGV[1], ARGV[2], ARGV[3] * 1000, ARGV[4], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HMGET', KEYS[1], 'member', 'epoch', 'at')
if held[1] ~= leader or held[2] ~= epoch or not held[3] or now - held[3] >= lease_us then
  return 0
end
for place = 2, #KEYS do
  redis.call('XADD', KEYS[place], 'MAXLEN', '~', entries_max, '*', 'm', ARGV[place + 4])
  redis.call('PEXPIRE', KEYS[place], ttl)
end
return 1
