-- Moves the times of limits by the arguments after the first, which is the farthest that one may be ahead: see advance.lua.
local most = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for place, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'ahead', 'at')
  local passed = math.max(now - (tonumber(kept[2] or now)), 0) * 1000
  local ahead = math.max(tonumber(kept[1] or 0) - passed, 0)
  ahead = math.min(math.max(ahead + tonumber(ARGV[place + 1]), 0), most)
  redis.call('HSET', key, 'ahead', string.format('%.0f', ahead), 'at', string.format('%.0f', now))
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ahead / 1000000) + 1000))
end
