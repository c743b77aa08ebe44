-- A worker's one exchange with the queue: writes what came of the tasks that it ran, and takes
-- what it has free slots for. Begins with settle.lua.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:executing
-- KEYS[3]  {q}:due
-- KEYS[4]  {q}:worker:{uuid}, this worker's own
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  now: executing-created and finished-created of this call; '' where it follows a wait, whose
--          end only Redis knows: then its own clock
-- ARGV[5]  owner of what this call takes: a token no other call has
-- ARGV[6]  how many tasks to take, at most; where this is a repetition, those that it has taken come
--          in any case
-- ARGV[7]  bytes of args after which no more are taken
-- ARGV[8]  number of this call: a thousand for each exchange of this worker, and one for each time
--          that this one was sent before
-- ARGV[9]  the worker's own ttl: of a task that has expired, and of those that say no other
-- ARGV[10] '' or, where the worker has many in `executing`: how many, and for each outcome how many of
--          these are older than its task, with commas in between. Where to look first, and no more than
--          that: others take out of the list, too
-- ARGV[11] '1' where args are to be told by their length, and read by `HGET` afterwards: what is long
--          passes through Lua slowly. A repetition tells them whole, so that it ends where `HGET` is forbidden
-- ARGV[12…] records, each beginning with its kind:
--          o owner         of the tasks that follow: the token under which they were taken
--          w waiters       of the tasks that follow: who waited when they were taken, by their field
--                          reply-to, which goes, and by their ids
--          i waiter        of the tasks that follow: who waits by their ids alone, '' for nobody
--          m message       of the next so many: the replies to the one who waits, put together
--          t ttl           of the tasks that follow: their own, '-' for ever; '' for the worker's
--          v n             so many tasks of that kind follow: id, a of each. Kinds as settle.lua has
--          s n             them: s id; f id, a, b; c id, a
--          f n
--          c n
--          r n             tasks to be run again: id, why, milliseconds until then, the next attempt's
--                          number. These come first
--
-- Returns { 1 where all of them were written; or for each 1, or 0 (this owner has lost the task)
--           1, or 0 where the worker's own key is gone: it counts as dead, and gets no tasks
--           nil, or dropped: id, why (missing | finished | executing | not a hash), flat
--           nil, or for those taken that have options: which of them, options, attempt, and how
--             often a worker died over it, flat
--           what was taken, oldest first: id and args (or how many bytes they have) of each; before the
--             first, and where one of these three changes, 0, function, pending-created, reply-to }
--
-- One step, so that an id is in exactly one place at any time, a task is ended by its owner only,
-- and the hash is final when the messages go out.
--
-- The owner's token is the name of a field, its seal: `HDEL` says in one whether the task is still this
-- owner's, and that nobody has changed since what it was told of (who waits, whether it is cancelled).
-- Whoever does renames the field (break_seal in settle.lua); then the hash is looked at.
--
-- Safe to repeat: an outcome of this call is known by its finished-created (or the date in its error),
-- what it took by its owner. A call that comes after its own repetition, over a connection that was
-- given up, takes nothing: nobody hears its answer. The worker's key has the number of the latest
-- repetition. Ids leave `pending` last, and no seal is broken before the task before is written, so that
-- none is lost where Redis forbids a command on the way.
local KEYS, ARGV = KEYS, ARGV -- globals are looked up by name each time
local pending, executing, due = KEYS[1], KEYS[2], KEYS[3]
local prefix, now, owner = ARGV[1], ARGV[4], ARGV[5]
if now == '' then
  now = date()
end
local want, budget, number = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local repeated = number % 1000 > 0

-- Keys of another type: fail before anything is written. The others are looked at where they are
-- needed.
call('LLEN', executing)
local alive, ids, latest = 1, {}, call('HGET', KEYS[4], 'repeated')
local in_time = latest and (latest == '0' or tonumber(latest) <= number)
if not latest and (want > 0 or repeated) then
  alive = 0
end
if not in_time then
  want = 0
elseif repeated then
  call('HSET', KEYS[4], 'repeated', ARGV[8])
elseif #ARGV > 11 then
  call('HSET', KEYS[4], 'repeated', latest) -- forbidden, or no memory: fail before a seal is broken
end
if want > 0 then
  ids = call('LRANGE', pending, -want, '-1')
end

local outcomes, lost = 0, false -- which of them were not written, by number
local leaving, through, places = 0, {}, nil -- what leaves `executing`, and how many there are older
local seal, noted, waiters, message, ttl = '', false, false, nil, ARGV[9]

local held, older -- how many this worker has there, and for each outcome how many of these are older
if ARGV[10] ~= '' then
  older, places = {}, {}
  for digits in string.gmatch(ARGV[10], '%d+') do
    older[#older + 1] = tonumber(digits)
  end
  held = table.remove(older, 1)
end

-- The end of a run whose seal is not there, or may not be broken yet. Whether it was written, and whether its id
-- leaves `executing`.
local function write_unsealed(key, seal, ttl, kind, id, a, b, attempt)
  local KEPT_ERRORS = 10
  local call, pending, executing, due = redis.call, KEYS[1], KEYS[2], KEYS[3] -- not from outside: see settle.lua

  local function run_again(reply_to)
    local more = call('HMGET', key, 'cancel', 'expires', 'options')
    if more[1] then
      return settle(key, id, now, reply_to, result_ttl(more[3], ARGV[9]), 'c', more[1], '')
    end
    if b == '0' then
      call('LPUSH', pending, id)
    else
      call('ZADD', due, milliseconds() + b, 'start:' .. id)
    end
    local expires = moment(more[2])
    if expires then
      call('ZADD', due, expires, 'expire:' .. id)
    end
    call('HSET', key, 'state', 'pending', 'attempt', attempt, 'error-' .. (attempt - 1), now .. ' ' .. a)
    call('HSETNX', key, 'options', '{}') -- who takes it looks at the rest only where it is there
    call('HDEL', key, 'executing-created', 'error-' .. (attempt - 1 - KEPT_ERRORS))
  end

  local function written_before()
    if kind == 'r' then
      local error = call('HGET', key, 'error-' .. (attempt - 1))
      if error and string.sub(error, 1, #now) == now then
        return true
      end
    end
    local found = call('HMGET', key, 'state', 'finished-created')
    return found[1] == 'finished' and found[2] == now
  end

  -- Whether a task that was to be run again has been taken, and not ended since.
  local function taken_again()
    local state = call('HGET', key, 'state')
    return state == 'executing' or state ~= 'finished' and not call('LPOS', pending, id)
      and not call('ZSCORE', due, 'start:' .. id)
  end

  local found = redis.pcall('HMGET', key, seal, seal .. '!', 'reply-to')
  if is_no_hash(found) then
    return false, false -- written by somebody else
  elseif found[1] or found[2] then
    if kind == 'r' then
      run_again(found[3])
    else
      settle(key, id, now, found[3], ttl, kind, a, b)
    end
    call('HDEL', key, seal, seal .. '!', 'cancel') -- which came too late
    return true, true
  elseif call('EXISTS', key) == 0 then
    -- Removed by this very call, the first time; or deleted while it ran: nobody else will take it out.
    return repeated, true
  elseif written_before() then
    -- Where the first time ended in between, the id has not left the list. It may also be there
    -- anew: taken meanwhile, perhaps by a worker of another kind, which writes nothing at first.
    local anew = kind == 'r' and taken_again() and 1 or 0
    return true, #call('LPOS', executing, id, 'COUNT', 0) > anew
  end
  return false, false
end

local none = KEYS[4] .. ':' -- no such key
local at, last, retries = 12, #ARGV, false
while at <= last do
  local kind, what = ARGV[at], ARGV[at + 1]
  at = at + 2
  if kind == 'o' then
    seal = 'owner:' .. what
  elseif kind == 'w' then
    noted, waiters = true, what
  elseif kind == 'i' then
    noted, waiters = false, what ~= '' and what
  elseif kind == 'm' then
    message = what
  elseif kind == 't' then
    ttl = what == '' and ARGV[9] or what == '-' and '' or what
  else
    if kind == 'r' and not retries then
      call('LLEN', pending)
      call('ZCARD', due)
      retries = true
    end
    local words = (kind == 'v' or kind == 'c') and 2 or kind == 's' and 1 or kind == 'f' and 3 or 4
    local count, first = tonumber(what), at
    -- At once only what can't be forbidden half-way.
    local at_once = in_time and kind ~= 'r'
    if at_once then
      -- Forbidden: fail before a seal is broken, after which no repetition would make up for it.
      call('PEXPIRE', none, '1')
      if count > 1 or settles > 0 then
        call('PEXPIREAT', none, '1')
      end
      if ttl == '0' then
        call('DEL', none)
      end
    end
    local unsealed = false -- those of them that were, by number
    for i = 1, count do
      local id = ARGV[at]
      local key = prefix .. id
      local a, b = words > 1 and ARGV[at + 1] or '', words > 2 and ARGV[at + 2] or ''
      local written, leaves = true, true
      outcomes = outcomes + 1
      if at_once and try('HDEL', key, seal) == 1 then
        settle(key, id, now, noted, ttl, kind, a, b, waiters, message)
      else
        written, leaves = write_unsealed(key, seal, ttl, kind, id, a, b, words > 3 and ARGV[at + 3])
        unsealed = unsealed or {}
        unsealed[i] = true
      end
      if not written then
        lost = lost or {}
        lost[outcomes] = true
      end
      if leaves then
        leaving = leaving + 1
        through[leaving] = id
        if held then
          places[leaving] = older[outcomes]
        end
      end
      at = at + words
    end
    if message and not unsealed then
      messages[#messages + 1] = waiters
      messages[#messages + 1] = message
    elseif message then
      for i = 1, count do
        if not unsealed[i] then
          local id = first + (i - 1) * words
          answer(ARGV[id], waiters, kind, words > 1 and ARGV[id + 1] or '',
            words > 2 and ARGV[id + 2] or '')
        end
      end
    end
    message = nil
  end
end

-- Of a long list, parts are read before the whole of it is: to either side of where an id is thought to be.
-- That is exact where the list is this worker's alone, but for what it has been given and not heard of
-- yet, which is younger than all these; and about right among others'. Returns those not found so.
local function take_out_near(list, ids, places, held)
  local UNHEARD, ABOUT, CALL, GONE = 128, 64, 16, ''
  local call = redis.call
  local length = call('LLEN', list)
  local alone = length - held <= UNHEARD
  local near, scale = alone and 0 or ABOUT, alone and 1 or length / held
  if #ids * (2 * near + CALL) > length then
    return ids -- the whole is less than so many parts
  end
  local others, gone = {}, 0
  for i, id in ipairs(ids) do
    local first = math.max(0, math.floor((places[i] or 0) * scale) - near)
    local part = call('LRANGE', list, -first - 2 * near - 1, -first - 1)
    local place = #part
    while place > 0 and part[place] ~= id do
      place = place - 1
    end
    if place > 0 then
      call('LSET', list, place - #part - first - 1, GONE)
      gone = gone + 1
    else
      others[#others + 1] = id
    end
  end
  if gone > 0 then
    call('LREM', list, -gone, GONE)
  end
  return others
end

if held then
  through = take_out_near(executing, through, places, held)
end
take_out(executing, through)
if retries and #ids < want then
  ids = call('LRANGE', pending, -want, '-1') -- one that is to be run again at once may be among them
end

local mine = 'owner:' .. owner
local again = false -- whether what was taken the first time is told again; then nothing more is taken
if repeated then
  local all, taken, seen = call('LRANGE', executing, '0', '-1'), {}, {}
  for i = #all, 1, -1 do
    local id = all[i]
    local found = try('HMGET', prefix .. id, mine, mine .. '!')
    if not is_no_hash(found) and (found[1] or found[2]) and not seen[id] then
      seen[id] = true
      table.insert(taken, 1, id)
    end
  end
  if #taken > 0 then
    ids, again = taken, true
  end
end

-- A finished task that somebody has put in again by hand: what is left of its first life goes, and with
-- it the time to live. Where Redis forbids that, it stays.
local function renew(key)
  local LEFT = { ['executing-created'] = 1, ['finished-created'] = 1, result = 1, ['result-value'] = 1,
    ['error-reason'] = 1, ['error-exception'] = 1, cancelled = 1, cancel = 1, attempt = 1, lost = 1, expires = 1 }
  redis.pcall('PERSIST', key)
  local names = redis.pcall('HKEYS', key)
  for _, name in ipairs(names.err and {} or names) do
    if LEFT[name] or string.find(name, '^error%-%d+$') then
      redis.pcall('HDEL', key, name)
    end
  end
end

-- What must be looked at where a task has options. True where it ends here.
local function ends(key, id, options, due)
  local more = redis.call('HMGET', key, 'attempt', 'expires', 'reply-to', 'cancel', 'lost')
  if more[4] then
    disown(key)
    settle(key, id, now, more[3], result_ttl(options, ARGV[9]), 'c', more[4], '')
    return true
  end
  if more[2] then
    local expires = moment(more[2])
    if not expires or tonumber(expires) <= milliseconds() then
      local which = more[1] and 'attempt ' .. more[1] or 'it'
      disown(key)
      settle(key, id, now, more[3], result_ttl(options, ARGV[9]), 'f',
        expires and 'expired: ' .. which .. ' had not begun by then'
          or 'expires can\'t be used: expected milliseconds since 1970', '')
      redis.pcall('ZREM', due, 'expire:' .. id) -- of another type: then there is none
      return true
    end
    redis.pcall('ZREM', due, 'expire:' .. id)
  end
  return false, more[1], more[5]
end

-- Why a task that is not `pending` is not taken, if it is not.
local function obstacle(key, id, found, started, executing)
  if found.err and is_no_hash(found) then
    return 'not a hash'
  elseif found[4] == 'finished' then
    return 'finished'
  elseif found[4] == 'executing' then
    for i = 1, #started do
      if started[i] == id then
        return 'executing'
      end
    end
    return redis.call('LPOS', executing, id) and 'executing'
  elseif not found[1] and not found[4] and redis.call('EXISTS', key) == 0 then
    return 'missing'
  end
end

-- Hardly a hash has a field without a name: next to nothing is read in place of the args.
local args_apart = ARGV[11] == '1' and not again
local args_field = args_apart and '' or 'args'

local dropped, extras = false, false -- false, not nil: the answer must have no holes
local answered, length, count = { 1, alive, false, false }, 4, 0
local of_function, created, waits
local started, bytes, left = {}, 0, #ids

while left > 0 and (again or bytes < budget) do
  local id = ids[left]
  left = left - 1
  local key = prefix .. id
  local found = try('HMGET', key, 'function', args_field, 'pending-created', 'state', 'options', 'reply-to',
    'finished-created')
  local is_pending, why, ended, attempt, deaths
  if again then
    if found[5] then
      attempt, deaths = unpack(call('HMGET', key, 'attempt', 'lost'))
    end
  else
    is_pending = found[4] == 'pending'
    why = not is_pending and obstacle(key, id, found, started, executing)
    if found[7] and not why then
      renew(key)
    end
    if found[5] and not why then
      ended, attempt, deaths = ends(key, id, found[5], due)
    end
    if why then
      dropped = dropped or {}
      dropped[#dropped + 1] = id
      dropped[#dropped + 1] = why
    end
  end
  if not why and not ended then
    local args, size = found[2], found[2] and #found[2] or 0
    if args_apart then
      size = call('HSTRLEN', key, 'args')
      args = size > 0 and size
    end
    bytes = bytes + size
    if not again then
      if call('HSET', key, 'state', 'executing', 'executing-created', now, mine, '') < 2
        or not is_pending or found[7] then
        disown(key, mine) -- something is left of an earlier run
      end
      started[count + 1] = id
    end
    if count == 0 or found[1] ~= of_function or found[3] ~= created or found[6] ~= waits then
      of_function, created, waits = found[1], found[3], found[6]
      answered[length + 1] = 0
      answered[length + 2] = of_function
      answered[length + 3] = created
      answered[length + 4] = waits
      length = length + 4
    end
    answered[length + 1] = id
    answered[length + 2] = args
    length = length + 2
    if found[5] then
      extras = extras or {}
      local last = #extras
      extras[last + 1] = count
      extras[last + 2] = found[5]
      extras[last + 3] = attempt or false -- never nil: the list must have no holes
      extras[last + 4] = deaths or false
    end
    count = count + 1
  end
end
if #started > 0 then
  call('LPUSH', executing, unpack(started))
end
if left < #ids and not again then
  call('LTRIM', pending, '0', left - #ids - 1)
end
announce(ARGV[2], ARGV[3])

if lost then
  local written = {}
  for i = 1, outcomes do
    written[i] = lost[i] and 0 or 1
  end
  answered[1] = written
end
answered[3], answered[4] = dropped, extras
return answered
