-- A worker's one exchange with the queue: writes what came of the tasks that it ran, and takes
-- what it has free slots for. Begins with settle.lua.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:executing
-- KEYS[3]  {q}:due
-- KEYS[4]  {q}:worker:{uuid}, this worker's own
-- KEYS[5]  {q}:sent:{uuid}: the number of its latest exchange
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  now: executing-created and finished-created of this call
-- ARGV[5]  owner of what this call takes: a token no other call has, with the exchange's number at
--          its end
-- ARGV[6]  how many tasks to take, at most
-- ARGV[7]  bytes of args after which no more are taken
-- ARGV[8]  '1' where this call is the repetition of one whose answer was lost
-- ARGV[9]  ttl of a task that has expired
-- ARGV[10…] six for each task that ran: id, owner, kind, a, b, c. Kinds:
--          v, s, f, c as settle.lua has them, with c = ttl
--          r to be run again: a = why, b = the next attempt's number, c = milliseconds until then
--
-- Returns { for each of them 1 (written) or 0 (this owner has lost the task),
--           taken: id, function, args, pending-created, options, attempt of each, flat, oldest first
--           dropped: id, why (missing | finished | executing | not a hash), flat
--           1, or 0 where the worker's own key is gone: it counts as dead, and gets no tasks }
--
-- One step, so that an id is in exactly one place at any time, a task is ended by its owner only,
-- and the hash is final when the messages go out. Safe to repeat: an outcome of this call is known
-- by its finished-created (or the date in its error), what it took by its owner. A call whose
-- number has been there takes nothing more: it is a repetition, or has come late, over a connection
-- that had been given up, when its repetition was answered and nobody is there to run what it takes.
local pending, executing, due = KEYS[1], KEYS[2], KEYS[3]
local prefix, now, owner = ARGV[1], ARGV[4], ARGV[5]
local want, budget, repeated = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'

-- Keys of another type: fail before anything is written.
redis.call('LLEN', pending)
redis.call('LLEN', executing)

local KEPT_ERRORS = 10

local function run_again(key, id, reply_to, why, attempt, delay)
  local more = redis.call('HMGET', key, 'cancel', 'expires', 'options')
  if more[1] then
    return settle(key, id, now, reply_to, result_ttl(more[3], ARGV[9]), 'c', more[1], '')
  end
  redis.call('HSET', key, 'state', 'pending', 'attempt', attempt,
    'error-' .. (attempt - 1), now .. ' ' .. why)
  redis.call('HSETNX', key, 'options', '{}') -- who takes it looks at the rest only where it is there
  redis.call('HDEL', key, 'owner', 'executing-created', 'error-' .. (attempt - 1 - KEPT_ERRORS))
  if more[2] then
    redis.call('ZADD', due, more[2], 'expire:' .. id)
  end
  if delay == '0' then
    redis.call('LPUSH', pending, id)
  else
    redis.call('ZADD', due, milliseconds() + delay, 'start:' .. id)
  end
end

local function written_before(key, found, kind, attempt)
  if kind == 'r' then
    local error = redis.call('HGET', key, 'error-' .. (attempt - 1))
    return error and string.sub(error, 1, #now) == now
  end
  return found[2] == 'finished' and found[3] == now
end

local written = {}
for i = 10, #ARGV, 6 do
  local id, kind = ARGV[i], ARGV[i + 2]
  local key = prefix .. id
  local found = redis.pcall('HMGET', key, 'owner', 'state', 'finished-created', 'reply-to')
  local answer = 0
  if not found.err then
    if found[1] == ARGV[i + 1] then
      if kind == 'r' then
        run_again(key, id, found[4], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
      else
        settle(key, id, now, found[4], ARGV[i + 5], kind, ARGV[i + 3], ARGV[i + 4])
      end
      redis.call('LREM', executing, -1, id)
      answer = 1
    elseif not found[2] and redis.call('EXISTS', key) == 0 then
      redis.call('LREM', executing, -1, id) -- deleted while it ran: nobody else will take it out
      answer = repeated and 1 or 0 -- or removed by this very call, the first time
    elseif written_before(key, found, kind, ARGV[i + 4]) then
      answer = 1
    end
  end
  written[#written + 1] = answer
end

local taken, dropped = {}, {}
local alive = want == 0 and 1 or redis.call('EXISTS', KEYS[4])

local function finish()
  announce(ARGV[2], ARGV[3])
  return { written, taken, dropped, alive }
end

local function take(id, found, options, attempt)
  local next = #taken
  taken[next + 1] = id
  taken[next + 2] = found[1]
  taken[next + 3] = found[2]
  taken[next + 4] = found[3]
  taken[next + 5] = options
  taken[next + 6] = attempt or false -- never nil: the list must have no holes
end

local function has_been_here()
  local number = tonumber(string.match(owner, '%d+$')) or 0
  local latest = tonumber(redis.call('HGET', KEYS[5], 'exchange') or 0)
  if number <= latest then
    return true
  end
  if redis.call('HSET', KEYS[5], 'exchange', string.format('%.0f', number)) == 1 then
    redis.call('PEXPIRE', KEYS[5], 86400000)
  end
  return false
end

if want > 0 and has_been_here() then
  local ids = redis.call('LRANGE', executing, 0, -1)
  for i = #ids, 1, -1 do
    local found = redis.pcall('HMGET', prefix .. ids[i], 'function', 'args', 'pending-created', 'owner',
      'options', 'attempt')
    if not found.err and found[4] == owner then
      take(ids[i], found, found[5], found[6])
    end
  end
  return finish()
end

-- What must be looked at where a task has options. True where it ends here.
local function ends(key, id, options)
  local more = redis.call('HMGET', key, 'attempt', 'expires', 'reply-to', 'cancel')
  if more[4] then
    settle(key, id, now, more[3], result_ttl(options, ARGV[9]), 'c', more[4], '')
    return true
  end
  if more[2] then
    if (tonumber(more[2]) or 0) <= milliseconds() then
      local which = more[1] and 'attempt ' .. more[1] or 'it'
      settle(key, id, now, more[3], result_ttl(options, ARGV[9]), 'f',
        'expired: ' .. which .. ' had not begun by then', '')
      redis.call('ZREM', due, 'expire:' .. id)
      return true
    end
    redis.call('ZREM', due, 'expire:' .. id)
  end
  return false, more[1]
end

local ids = want > 0 and alive == 1 and redis.call('RPOP', pending, want) or {}
local started, bytes = {}, 0
for i, id in ipairs(ids) do
  if bytes >= budget then
    local back = {}
    for j = #ids, i, -1 do
      back[#back + 1] = ids[j]
    end
    redis.call('RPUSH', pending, unpack(back))
    break
  end
  local key = prefix .. id
  local found = redis.pcall('HMGET', key, 'function', 'args', 'pending-created', 'state', 'owner',
    'options')
  local why, attempt
  if found.err then
    why = 'not a hash'
  elseif found[4] == 'finished' then
    why = 'finished'
  elseif found[4] == 'executing'
    and (found[5] == owner or redis.call('LPOS', executing, id)) then
    why = 'executing'
  elseif not found[1] and not found[4] and redis.call('EXISTS', key) == 0 then
    why = 'missing'
  elseif found[6] then
    local ended
    ended, attempt = ends(key, id, found[6])
    why = ended and 'ended'
  end
  if not why then
    redis.call('HSET', key, 'state', 'executing', 'executing-created', now, 'owner', owner)
    started[#started + 1] = id
    take(id, found, found[6], attempt)
    bytes = bytes + (found[2] and #found[2] or 0)
  elseif why ~= 'ended' then
    dropped[#dropped + 1] = id
    dropped[#dropped + 1] = why
  end
end
if #started > 0 then
  redis.call('LPUSH', executing, unpack(started))
end
return finish()
