-- The scheduler: who is admitted, who runs next, and which worker holds the lease of which job.
--
-- ARGV[1] names the operation. Each is atomic, so no count can be wrong, whoever dies between two
-- of them, and each may be repeated when its answer was lost. KEYS[1] is the prefix of all keys;
-- its braces keep them on one node. Admission and order are those of application/scheduling.py.
--
--   jobs               every job from admission to its end, by arrival
--   job:<id>           user, chat; reason: why it is cancelled; fence: which claim holds it;
--                      returns: how many attempts do not count, for their worker left;
--                      woken: it is looked at again as soon as it has paused
--   chat:<id>          the chat's jobs, by arrival: only the first may run
--   recording          jobs whose log is being opened, by when that must be over
--   waiting, running   jobs without and with a slot, by arrival; `ending` ones are in neither
--   paused             jobs that wait for a human, by when they are looked at; no bound counts them
--   eligible:<user>    the user's jobs that could have a slot now, by arrival
--   users              users who have such jobs: the fewest running first, then the oldest job
--   due, ends          what a worker may claim: into a slot, or without one, only to be ended
--   leases             claimed jobs, by when their lease lapses unless a heartbeat renews it
--   claims             worker -> its last claim and what it got
--   abandoned          jobs given up before anybody was told of them, until nobody asks any more
--   read               jobs, by when they were last read or began
--   user_waiting, user_running   user -> how many of his jobs
--   workers, slots     worker -> until when it is alive; how many jobs it runs at once
--   clock              for leases, recordings and readers: see `clock` below

local call = redis.call
local function key(name) return KEYS[1] .. name end

local RECORDING_MS, BEAT_MS, ABANDONED_MS = 30000, 1000, 25 * 3600 * 1000
local ARRIVALS = 2 ^ 36 -- more than a Redis ever sees

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Milliseconds during which workers' heartbeats came. It goes on for a moment after each only:
-- while Redis is away nobody can renew a lease or say that a job is read, and now may jump.
local function read_clock()
  local at, ms = unpack(call('HMGET', key('clock'), 'at', 'ms'))
  return at and ms + math.max(0, math.min(now - at, BEAT_MS)) or 0
end
local clock = read_clock()

local function add(name, who, by)
  if call('HINCRBY', key(name), who, by) == 0 then call('HDEL', key(name), who) end
end

local function count(name, who) return tonumber(call('HGET', key(name), who) or 0) end

local function get(job, field) return call('HGET', key('job:' .. job), field) end

local function arrival(job) return call('ZSCORE', key('jobs'), job) end

local function within(count_now, bound) return bound == '' or count_now < tonumber(bound) end

local function capacity()
  local slots = 0
  for _, worker in ipairs(call('ZRANGEBYSCORE', key('workers'), now, '+inf')) do
    slots = slots + count('slots', worker)
  end
  return slots
end

local function free_slots() return capacity() - call('ZCARD', key('running')) end

-- After every change of what the user runs, or could run.
local function rank(user)
  local oldest = call('ZRANGE', key('eligible:' .. user), 0, 0, 'WITHSCORES')[2]
  if oldest then
    call('ZADD', key('users'), count('user_running', user) * ARRIVALS + oldest, user)
  else
    call('ZREM', key('users'), user)
  end
end

-- The chat's first job may have a slot if it waits for nothing else.
local function offer(chat)
  local job = call('ZRANGE', key('chat:' .. chat), 0, 0)[1]
  if job and call('ZSCORE', key('waiting'), job) and not call('ZSCORE', key('recording'), job) then
    local user = get(job, 'user')
    call('ZADD', key('eligible:' .. user), arrival(job), job)
    rank(user)
  end
end

local function hold_slot(job, user)
  call('ZADD', key('running'), arrival(job), job)
  add('user_running', user, 1)
end

local function leave_state(job, user)
  if call('ZREM', key('waiting'), job) == 1 then add('user_waiting', user, -1) end
  if call('ZREM', key('running'), job) == 1 then add('user_running', user, -1) end
  call('ZREM', key('eligible:' .. user), job)
  rank(user)
end

-- Free slots go to the user with the fewest running, then to who has waited longest.
local function fill_slots(user_bound)
  for _ = 1, free_slots() do
    local user = call('ZRANGE', key('users'), 0, 0)[1]
    if not user or not within(count('user_running', user), user_bound) then return end
    local job = call('ZRANGE', key('eligible:' .. user), 0, 0)[1]
    leave_state(job, user)
    hold_slot(job, user)
    rank(user)
    call('ZADD', key('due'), arrival(job), job)
  end
end

local function claimable()
  return call('EXISTS', key('due')) + call('EXISTS', key('users')) > 0
end

local function wake()
  if call('EXISTS', key('ends')) == 1 then call('PUBLISH', key('news'), 'ends') end
  if claimable() then call('PUBLISH', key('news'), 'due') end
end

-- No worker has the job, and it may be claimed now: only to be ended if it is cancelled.
local function make_claimable(job)
  call('ZREM', key('leases'), job)
  call('HDEL', key('job:' .. job), 'fence')
  if get(job, 'reason') then
    leave_state(job, get(job, 'user'))
    call('ZREM', key('paused'), job)
    call('ZREM', key('due'), job)
    call('ZADD', key('ends'), arrival(job), job)
  elseif call('ZSCORE', key('running'), job) then
    call('ZADD', key('due'), arrival(job), job)
  else
    offer(get(job, 'chat'))
  end
  wake()
end

local function remove(job)
  local user, chat = get(job, 'user'), get(job, 'chat')
  leave_state(job, user)
  for _, name in ipairs({'jobs', 'recording', 'paused', 'due', 'ends', 'leases', 'read'}) do
    call('ZREM', key(name), job)
  end
  call('ZREM', key('chat:' .. chat), job)
  call('DEL', key('job:' .. job))
  offer(chat)
  wake()
end

local DO = {}

function DO.cancel(job, reason)
  if not arrival(job) or call('HSETNX', key('job:' .. job), 'reason', reason) == 0 then return end
  if call('ZSCORE', key('leases'), job) then
    call('PUBLISH', key('news'), 'cancel ' .. job .. ' ' .. reason)
  elseif not call('ZSCORE', key('recording'), job) then
    make_claimable(job)
  end
end

-- 'taken', or why not: 'abandoned', 'conflict', 'busy', 'user'. An empty bound is none.
function DO.admit(job, user, chat, when_busy, queued, user_queued, user_running)
  if call('ZSCORE', key('abandoned'), job) then return 'abandoned' end
  if arrival(job) then return 'taken' end
  fill_slots(user_running)
  local others = call('ZRANGE', key('chat:' .. chat), 0, -1)
  if #others > 0 and when_busy == 'reject' then return 'conflict' end
  local runs = #others == 0 and free_slots() > 0
    and within(count('user_running', user), user_running)
  if not runs then
    if not within(call('ZCARD', key('waiting')), queued) then return 'busy' end
    if not within(count('user_waiting', user), user_queued) then return 'user' end
  end
  if when_busy == 'interrupt' then
    for _, other in ipairs(others) do DO.cancel(other, 'user') end
  end
  local seq = call('INCR', key('arrivals'))
  call('ZADD', key('jobs'), seq, job)
  call('HSET', key('job:' .. job), 'user', user, 'chat', chat)
  call('ZADD', key('chat:' .. chat), seq, job)
  call('ZADD', key('recording'), clock + RECORDING_MS, job)
  if runs then
    hold_slot(job, user)
    rank(user)
  else
    call('ZADD', key('waiting'), seq, job)
    add('user_waiting', user, 1)
  end
  return 'taken'
end

-- The job's log is open. 0 if there is no such job; 'abandoned', whoever abandoned it.
function DO.ready(job)
  if call('ZSCORE', key('abandoned'), job) then return 'abandoned' end
  if not arrival(job) then return 0 end
  if call('ZREM', key('recording'), job) == 1 then make_claimable(job) end
  return 1
end

-- Nobody knows whether its log was opened, and nobody was told of the job, or will be: if there
-- is a log, a worker ends it. 0 if it is not so: somebody was told, or there is no such job.
function DO.abandon(job)
  if call('ZREM', key('recording'), job) == 1 then
    call('ZADD', key('abandoned'), now + ABANDONED_MS, job)
    call('PEXPIRE', key('abandoned'), ABANDONED_MS)
    call('HSETNX', key('job:' .. job), 'reason', 'shutdown')
    make_claimable(job)
  end
  return call('ZSCORE', key('abandoned'), job) and 1 or 0
end

-- At most so many jobs for the worker's free slots, and so many to be ended: of each its id, why
-- it is cancelled or '', and its returns. The claim is their fence. The same claim again gets the
-- same answer.
function DO.claim(worker, claim, slots, ends, user_running, lease)
  local last = call('HGET', key('claims'), worker)
  if last and string.sub(last, 1, #claim) == claim then
    return cjson.decode(string.sub(last, #claim + 1))
  end
  fill_slots(user_running)
  local claimed = {}
  for _, from in ipairs({{'due', slots}, {'ends', ends}}) do
    local jobs = call('ZPOPMIN', key(from[1]), from[2])
    for i = 1, #jobs, 2 do
      local job = jobs[i]
      call('HSET', key('job:' .. job), 'fence', claim)
      call('ZADD', key('leases'), clock + lease, job)
      call('ZADD', key('read'), 'NX', clock, job) -- if it never was, it counts from its start
      claimed[#claimed + 1] = {job, get(job, 'reason') or '', get(job, 'returns') or '0'}
    end
  end
  if #claimed > 0 then call('HSET', key('claims'), worker, claim .. cjson.encode(claimed)) end
  return claimed
end

function DO.finish(job, fence)
  if get(job, 'fence') == fence then remove(job) end
end

-- To be claimed again, at once. `returns` is 1 if an attempt had begun that is not to count.
function DO.release(job, fence, returns)
  if get(job, 'fence') ~= fence then return end
  if returns == '1' then call('HINCRBY', key('job:' .. job), 'returns', 1) end
  make_claimable(job)
end

-- It waits for its turn again: whether it goes on is seen by whoever claims it.
local function look(job)
  local user = get(job, 'user')
  call('ZREM', key('paused'), job)
  call('ZADD', key('waiting'), arrival(job), job)
  add('user_waiting', user, 1)
  offer(get(job, 'chat'))
  wake()
end

-- The job waits for a human, until then; it holds neither its lease nor its slot any more. Nobody
-- has to read it meanwhile.
function DO.pause(job, fence, until_ms)
  if get(job, 'fence') ~= fence then return end
  leave_state(job, get(job, 'user'))
  call('ZREM', key('leases'), job)
  call('ZREM', key('read'), job)
  call('HDEL', key('job:' .. job), 'fence')
  call('ZADD', key('paused'), until_ms, job)
  if get(job, 'reason') then
    make_claimable(job)
  elseif call('HDEL', key('job:' .. job), 'woken') == 1 then
    look(job)
  else
    wake() -- its slot is free
  end
end

function DO.wake(job, within)
  if not arrival(job) then return end
  local at = call('ZSCORE', key('paused'), job)
  if at and within == '0' then
    look(job)
  elseif at then
    call('ZADD', key('paused'), math.min(at, now + within), job)
  else
    call('HSET', key('job:' .. job), 'woken', 1)
  end
end

function DO.gone(worker)
  call('ZREM', key('workers'), worker)
  call('HDEL', key('slots'), worker)
  call('HDEL', key('claims'), worker)
end

-- Readers of these jobs, running or waiting, are there now.
function DO.are_read(...)
  for _, job in ipairs({...}) do
    if arrival(job) and not call('ZSCORE', key('paused'), job) then
      call('ZADD', key('read'), clock, job)
    end
  end
end

-- Gateways tell of readers twice a second, and somewhat later after an outage.
local function cancel_unread(patience)
  local jobs = call('ZRANGEBYSCORE', key('read'), '-inf', clock - math.max(patience, 2000) - 1000)
  for _, job in ipairs(jobs) do DO.cancel(job, 'orphaned') end
end

-- What nobody does any more who had begun it.
local function sweep()
  for _, dead in ipairs(call('ZRANGEBYSCORE', key('workers'), '-inf', now)) do DO.gone(dead) end
  for _, job in ipairs(call('ZRANGEBYSCORE', key('leases'), '-inf', clock)) do make_claimable(job) end
  for _, job in ipairs(call('ZRANGEBYSCORE', key('recording'), '-inf', clock)) do
    DO.abandon(job)
  end
  for _, job in ipairs(call('ZRANGEBYSCORE', key('paused'), '-inf', now)) do look(job) end
  call('ZREMRANGEBYSCORE', key('abandoned'), '-inf', now)
end

-- A worker is alive, for `lease` milliseconds; without slots it takes nothing. Its jobs and their
-- fences follow: of each it is told '', why it is cancelled, or 'lost'. Cancels what nobody reads,
-- unless the patience for it is ''. Then 1 if there is something to claim.
function DO.beat(worker, slots, lease, patience, ...)
  local held, told = {...}, {}
  call('HSET', key('clock'), 'at', now, 'ms', clock)
  if patience ~= '' then cancel_unread(patience) end
  for i = 1, #held, 2 do
    local job, fence = held[i], held[i + 1]
    if get(job, 'fence') == fence then
      call('ZADD', key('leases'), clock + lease, job)
      told[#told + 1] = get(job, 'reason') or ''
    else
      told[#told + 1] = 'lost'
    end
  end
  if slots == '0' then
    DO.gone(worker)
  else
    call('HSET', key('slots'), worker, slots)
    call('ZADD', key('workers'), now + lease, worker)
  end
  sweep()
  return {told, (claimable() or call('EXISTS', key('ends')) == 1) and 1 or 0}
end

-- Alive workers; jobs that run, wait, are only to be ended, and are paused.
function DO.count()
  local alive = call('ZCOUNT', key('workers'), now, '+inf')
  local running, waiting = call('ZCARD', key('running')), call('ZCARD', key('waiting'))
  local paused = call('ZCARD', key('paused'))
  return {alive, running, waiting, call('ZCARD', key('jobs')) - running - waiting - paused, paused}
end

return DO[ARGV[1]](unpack(ARGV, 2))
