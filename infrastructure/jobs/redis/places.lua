-- The places of jobs, from submission to end: who may run, who waits, who works on what.
--
-- ARGV[1] names the operation. Every operation is atomic, so no count can be wrong, whoever
-- dies between two of them; what a dead process began is found by its time. Redis's clock is
-- the only one. KEYS[1] is the prefix of all keys; its braces keep them on one node.
--
--   users, chats       job -> whose it is, and of which chat
--   waiting            jobs without a promise to run, by arrival
--   running            jobs that run, or were promised to
--   recording          jobs whose log is being opened, by when that must be over
--   due, given, owners jobs to be given to a worker, given to one by when, and to which run
--   rounds, reasons    job -> how often it was given out; why it is cancelled
--   abandoned          jobs that were given up before anybody was told of them, and until when
--                      somebody may still ask for one of them
--   read, lived        job -> when it was last read, or began; and the clock for that
--   user_waiting, user_running, busy, chat:<id>   what the bounds ask, by user and by chat
--   workers, slots     worker -> until when it is alive; how many jobs it runs at once

local call = redis.call
local function key(name) return KEYS[1] .. name end

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local RECORDING, GIVEN, BEAT, ASKED_FOR = 30000, 5000, 1000, 25 * 3600 * 1000

local function bump(name, who, by)
  if call('HINCRBY', key(name), who, by) == 0 then call('HDEL', key(name), who) end
end

-- The clock of what nobody reads. It goes on for a moment after each heartbeat only: in an outage
-- nobody can say that a job is read, and Redis's own clock may jump.
local function lived()
  local at, before = unpack(call('HMGET', key('lived'), 'at', 'for'))
  return at and before + math.max(0, math.min(now - at, BEAT)) or 0
end

local function capacity()
  local slots = 0
  for _, worker in ipairs(call('ZRANGEBYSCORE', key('workers'), now, '+inf')) do
    slots = slots + tonumber(call('HGET', key('slots'), worker))
  end
  return slots
end

local function promise(job)
  local user, chat = call('HGET', key('users'), job), call('HGET', key('chats'), job)
  if call('ZREM', key('waiting'), job) == 1 then bump('user_waiting', user, -1) end
  if call('ZADD', key('running'), now, job) == 1 then bump('user_running', user, 1) end
  call('HSETNX', key('busy'), chat, job)
end

local function leave(job)
  local user, chat = call('HGET', key('users'), job), call('HGET', key('chats'), job)
  if not user then return end
  if call('ZREM', key('waiting'), job) == 1 then bump('user_waiting', user, -1) end
  if call('ZREM', key('running'), job) == 1 then bump('user_running', user, -1) end
  if call('HGET', key('busy'), chat) == job then call('HDEL', key('busy'), chat) end
  call('SREM', key('chat:' .. chat), job)
  for _, name in ipairs({'recording', 'due', 'given', 'read'}) do call('ZREM', key(name), job) end
  for _, name in ipairs({'users', 'chats', 'owners', 'rounds', 'reasons'}) do
    call('HDEL', key(name), job)
  end
end

local function wake() call('PUBLISH', key('news'), '') end
local DO = {}

function DO.cancel(job, reason)
  if call('HEXISTS', key('users'), job) == 0 then return end
  if call('HSETNX', key('reasons'), job, reason) == 0 then return end
  if call('ZSCORE', key('waiting'), job) and not call('ZSCORE', key('recording'), job) then
    promise(job) -- only for its end to be written: no bound counts for that
    call('ZADD', key('due'), now, job)
  end
  call('PUBLISH', key('news'), job .. ' ' .. reason)
end

-- Whoever has the fewest running comes first, then who has waited longest.
local function promise_free_slots(user_running)
  local free = capacity() - call('ZCARD', key('running'))
  local jobs = free > 0 and call('ZRANGE', key('waiting'), 0, 999) or {}
  if #jobs == 0 then return end
  local users = call('HMGET', key('users'), unpack(jobs))
  local chats = call('HMGET', key('chats'), unpack(jobs))
  local bound = user_running == '' and math.huge or tonumber(user_running)
  local runs, skip, ahead = {}, {}, {}
  for i, job in ipairs(jobs) do
    runs[users[i]] = runs[users[i]] or tonumber(call('HGET', key('user_running'), users[i]) or 0)
    -- What waits behind its chat's first question waits for it, also while that is recorded.
    skip[i] = ahead[chats[i]] or call('ZSCORE', key('recording'), job)
    ahead[chats[i]] = skip[i]
  end
  while free > 0 do
    local best
    for i = 1, #jobs do
      if not skip[i] and runs[users[i]] < (best and runs[users[best]] or bound) then
        if call('HEXISTS', key('busy'), chats[i]) == 1 then skip[i] = true else best = i end
      end
    end
    if not best then return end
    promise(jobs[best])
    call('ZADD', key('due'), now, jobs[best])
    runs[users[best]] = runs[users[best]] + 1
    skip[best], free = true, free - 1
  end
end

-- 'taken', or why not: 'abandoned', 'conflict', 'busy', 'user'. An empty bound is none.
function DO.admit(job, user, chat, when_busy, queued, user_queued, user_running)
  if call('ZSCORE', key('abandoned'), job) then return 'abandoned' end
  if call('HEXISTS', key('users'), job) == 1 then return 'taken' end
  local others = call('SMEMBERS', key('chat:' .. chat))
  if #others > 0 and when_busy == 'reject' then return 'conflict' end
  promise_free_slots(user_running) -- to those who have waited for them
  local mine = tonumber(call('HGET', key('user_running'), user) or 0)
  local runs = call('ZCARD', key('running')) < capacity()
    and (user_running == '' or mine < tonumber(user_running))
    and #others == 0
  if not runs then
    if call('ZCARD', key('waiting')) >= tonumber(queued) then return 'busy' end
    local waits = tonumber(call('HGET', key('user_waiting'), user) or 0)
    if user_queued ~= '' and waits >= tonumber(user_queued) then return 'user' end
  end
  if when_busy == 'interrupt' then
    for _, other in ipairs(others) do DO.cancel(other, 'user') end
  end
  call('HSET', key('users'), job, user)
  call('HSET', key('chats'), job, chat)
  call('SADD', key('chat:' .. chat), job)
  call('ZADD', key('recording'), now + RECORDING, job)
  if runs then
    promise(job)
  else
    call('ZADD', key('waiting'), call('INCR', key('arrivals')), job)
    bump('user_waiting', user, 1)
  end
  return 'taken'
end

local function release(job)
  if call('HEXISTS', key('users'), job) == 0 then return 0 end
  if call('ZREM', key('recording'), job) == 0 then return 1 end
  if call('HEXISTS', key('reasons'), job) == 1 then promise(job) end
  if call('ZSCORE', key('running'), job) then call('ZADD', key('due'), now, job) end
  wake()
  return 1
end

-- The job's log is open. 0 if it has no place any more; 'abandoned', whoever abandoned it.
function DO.ready(job)
  return call('ZSCORE', key('abandoned'), job) and 'abandoned' or release(job)
end

-- Nobody knows whether its log was opened, and nobody was told of the job, or will be: if there
-- is a log, a worker ends it. 0 if it is not so: somebody was told, or it has no place.
function DO.abandon(job)
  if call('ZSCORE', key('recording'), job) then
    call('ZADD', key('abandoned'), now + ASKED_FOR, job)
    call('PEXPIRE', key('abandoned'), ASKED_FOR)
    call('HSETNX', key('reasons'), job, 'shutdown')
    release(job)
  end
  return call('ZSCORE', key('abandoned'), job) and 1 or 0
end

-- Jobs and their rounds, for a worker to put into the queue.
function DO.give(user_running)
  promise_free_slots(user_running)
  local given = {}
  for _, job in ipairs(call('ZRANGE', key('due'), 0, -1)) do
    call('ZREM', key('due'), job)
    call('ZADD', key('given'), now, job)
    given[#given + 1] = job
    given[#given + 1] = call('HINCRBY', key('rounds'), job, 1)
  end
  return given
end

-- A run begins: why it is cancelled, or ''; nothing if the job is over or given out anew, or its
-- delivery is another worker's by now: who slept since he looked must not take it from him.
function DO.take(job, round, run, stream, group, consumer, delivery)
  if call('HGET', key('rounds'), job) ~= round then return false end
  if stream then
    local held = redis.pcall('XPENDING', stream, group, delivery, delivery, 1, consumer)
    if #held == 0 then return false end
  end
  call('ZREM', key('given'), job)
  call('HSET', key('owners'), job, run)
  call('ZADD', key('read'), 'NX', lived(), job) -- if it never was, it counts from its start
  return call('HGET', key('reasons'), job) or ''
end

function DO.finish(job, run)
  if call('HGET', key('owners'), job) ~= run then return end
  leave(job)
  wake()
end

function DO.hand_back(job, run)
  if call('HGET', key('owners'), job) ~= run then return end
  call('HDEL', key('owners'), job)
  call('ZADD', key('due'), now, job)
  wake()
end

function DO.gone(worker)
  call('ZREM', key('workers'), worker)
  call('HDEL', key('slots'), worker)
end

local function begun_by_nobody()
  local stale = {}
  for _, job in ipairs(call('ZRANGEBYSCORE', key('given'), '-inf', now - GIVEN)) do
    call('ZADD', key('given'), now, job)
    stale[#stale + 1] = job
    stale[#stale + 1] = call('HGET', key('rounds'), job)
  end
  return stale
end

-- Readers of these jobs, running or waiting, are there now.
function DO.are_read(...)
  local time = lived()
  for _, job in ipairs({...}) do
    if call('HEXISTS', key('users'), job) == 1 then call('ZADD', key('read'), time, job) end
  end
end

-- Gateways tell of readers twice a second, and somewhat later after an outage.
local function cancel_unread(patience)
  local time = lived()
  call('HSET', key('lived'), 'at', now, 'for', time)
  local jobs = call('ZRANGEBYSCORE', key('read'), '-inf', time - math.max(patience, 2000) - 1000)
  for _, job in ipairs(jobs) do DO.cancel(job, 'orphaned') end
end

-- A worker is alive. Cancels what nobody reads, unless the patience for it is ''. Tells what was
-- given out and never begun, and why the worker's jobs are cancelled.
function DO.beat(worker, slots, milliseconds, patience, ...)
  local stale, jobs = {}, {...}
  if slots == '0' then
    DO.gone(worker)
  else
    local new = call('HSET', key('slots'), worker, slots)
    call('ZADD', key('workers'), now + milliseconds, worker)
    if new == 1 then wake() end
    stale = begun_by_nobody()
  end
  for _, dead in ipairs(call('ZRANGEBYSCORE', key('workers'), '-inf', now)) do DO.gone(dead) end
  for _, job in ipairs(call('ZRANGEBYSCORE', key('recording'), '-inf', now)) do DO.abandon(job) end
  call('ZREMRANGEBYSCORE', key('abandoned'), '-inf', now)
  if patience ~= '' then cancel_unread(patience) end
  return {stale, #jobs > 0 and call('HMGET', key('reasons'), unpack(jobs)) or {}}
end

-- Alive workers, running and waiting jobs.
function DO.count()
  local alive = call('ZCOUNT', key('workers'), now, '+inf')
  return {alive, call('ZCARD', key('running')), call('ZCARD', key('waiting'))}
end

return DO[ARGV[1]](unpack(ARGV, 2))
