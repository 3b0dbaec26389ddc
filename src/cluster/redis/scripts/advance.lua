-- Moves the time of a limit forward, if it is not too far ahead then. Returns whether it did, and how far ahead it is.
-- All numbers are nanoseconds and have less than 53 bits, except the clock: that has microseconds.
local part, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'ahead', 'at')
-- A clock that goes back gives nothing away, and takes nothing.
local passed = math.max(now - (tonumber(kept[2] or now)), 0) * 1000
local ahead = math.max(tonumber(kept[1] or 0) - passed, 0)
local fits = ahead + part <= most
if fits then
  ahead = ahead + part
end
redis.call('HSET', KEYS[1], 'ahead', string.format('%.0f', ahead), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ahead / 1000000) + 1000))
return { fits and 1 or 0, string.format('%.0f', ahead) }
