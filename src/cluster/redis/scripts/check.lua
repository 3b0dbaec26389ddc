-- Uses each command that the other scripts and the readers of streams use, on keys that it deletes at its end.
-- Returns the names of the commands that the user may not use.
local hash, sorted, text, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local commands = {
  { 'TIME' },
  { 'HSET', hash, 'a', '1' },
  { 'HGET', hash, 'a' },
  { 'HMGET', hash, 'a' },
  { 'HGETALL', hash },
  { 'HDEL', hash, 'a' },
  { 'ZADD', sorted, '1', 'a' },
  { 'ZRANGE', sorted, '0', '-1' },
  { 'ZRANGEBYSCORE', sorted, '-inf', '+inf' },
  { 'ZREMRANGEBYRANK', sorted, '0', '-2' },
  { 'ZREM', sorted, 'a' },
  { 'SET', text, 'a', 'PX', '1000' },
  { 'GET', text },
  { 'XADD', stream, 'MAXLEN', '~', '1', '*', 'm', 'a' },
  { 'PEXPIRE', stream, '1000' },
  { 'XTRIM', stream, 'MINID', '0-1' },
  { 'XREAD', 'COUNT', '1', 'STREAMS', stream, '0-0' },
  { 'XREVRANGE', stream, '+', '-', 'COUNT', '1' },
  { 'DEL', hash, sorted, text, stream },
}
-- What the versions of Redis and Valkey say.
local refusals = { 'NOPERM', "user executing the script can't", 'ACL failure in script' }
local function is_refused(message)
  for _, refusal in ipairs(refusals) do
    if string.find(message, refusal, 1, true) then
      return true
    end
  end
  return false
end
local missing = {}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    if not is_refused(answer.err) then
      return answer
    end
    table.insert(missing, command[1])
  end
end
return missing
