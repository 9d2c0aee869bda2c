"""What must happen at once in Redis, in Lua. Each script touches the keys of one job only.

A job has two keys: its header, a hash, and its log, a stream. An entry's id is the id of the
last event in it, so Redis itself refuses what is behind the log's end. A header without a
`job` is what is left of a deleted job for a day, so that nobody takes it for a lost one.
"""

CREATE = """
-- job, attempt, id, body: 1 if the log was opened, 0 if it was there
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'job', ARGV[1], 'attempt', ARGV[2], 'last', ARGV[3])
redis.call('XADD', KEYS[2], ARGV[3], 'e', ARGV[4])
return 1
"""

BEGIN = """
-- by, attempts before, '1' to go on with one that has paused: {attempt, last, job}; 'ended', or
-- 'begun' by another; nothing for an unknown job. The same `by` counts once.
local h = redis.call('HMGET', KEYS[1], 'job', 'ended', 'by', 'attempt', 'last')
if not h[1] then return false end
if h[2] then return 'ended' end
if h[3] ~= ARGV[1] then
  if h[4] ~= ARGV[2] then return 'begun' end
  local paused = redis.call('HGET', KEYS[1], 'paused')
  if not (paused and ARGV[3] == '1') then h[4] = redis.call('HINCRBY', KEYS[1], 'attempt', 1) end
  redis.call('HSET', KEYS[1], 'by', ARGV[1])
  if paused then redis.call('HDEL', KEYS[1], 'paused') end
end
return {tonumber(h[4]), h[5], h[1]}
"""

APPEND = """
-- attempt, by, id before, id, body; and 'paused', or at the end: when, milliseconds to keep the log
local h = redis.call('HMGET', KEYS[1], 'attempt', 'last', 'ended', 'job', 'by')
if not h[4] then return redis.call('EXISTS', KEYS[1]) - 1 end
if h[1] ~= ARGV[1] or (h[5] and h[5] ~= ARGV[2]) then return 0 end
if h[2] == ARGV[4] then return 1 end
if h[3] then return 0 end
if h[2] ~= ARGV[3] then return -1 end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
  return -1
end
redis.call('XADD', KEYS[2], ARGV[4], 'e', ARGV[5])
redis.call('HSET', KEYS[1], 'last', ARGV[4])
if ARGV[6] == 'paused' then
  redis.call('HSET', KEYS[1], 'paused', 1)
elseif ARGV[6] then
  redis.call('HSET', KEYS[1], 'ended', ARGV[6])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
return 1
"""

WRITTEN, SUPERSEDED, LOST = 1, 0, -1
"""What APPEND answers. Lost: the log is not there, or does not end where it did."""

DELETE = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'deleted', 1)
redis.call('XADD', KEYS[2], '18446744073709551615-1', 'deleted', '')
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('EXPIRE', KEYS[2], 86400)
"""

LIST = """
-- job, milliseconds: the chat's index names the job for so long, and goes with its last one
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%d', last[2]))
"""
