-- The settle step, put before every script that ends tasks, and before attach, which shares some of
-- it: whatever happens when a task ends happens here, within the step that ends it. Defines
--
--   settle(key, id, now, reply_to, ttl, kind, a, b, waiters, told)   makes the hash final. Kinds:
--       v successful, a = result-value    s successful without a value
--       f failed, a = error-reason, b = error-exception ('' for none)
--       c cancelled, a = reason ('' for none): failed, with the field `cancelled`
--     ttl: milliseconds that the hash is kept; '' for ever, '0' not at all
--     reply_to: whether the hash has that field, and what it says. waiters: who waits, false for nobody;
--     nil where that is still to be found out. told: the caller sees to it that they hear of it
--   answer(id, waiters, kind, a, b)   has announce tell those who wait
--   take_out(list, ids)               takes ids out of a list, each once
--   announce(results, reply_prefix)   sends the outcomes to the processes that wait, short ones grouped
--     by process, then the wire's message for each task, unless they are many and nobody can hear them. Last,
--     because the hash must be final by then.
--   result_ttl(options, default)      the ttl of a task that no worker ended
--   milliseconds()                    Redis's own clock
--   date()                            the same as the wire's dates are written
--   moment(field)                     milliseconds since 1970 as Redis takes them for a score; nil where
--     the field, which anybody may have written, is no such number
--   is_no_hash(found)                 whether reading a task failed because its key is something else.
--     Any other failure (no permission) ends the script: it says nothing about the task
--   withdraw(due, pending, id)        takes an id that has not begun out of wherever it waits;
--     true if it was there
--   owner_of(key)                     the name of the field that says who has it, if anybody does
--   disown(key, but)                  takes all owners but that field away: of a task that was executing
--     when somebody put it into `pending` by hand
--   break_seal(key)                   whoever changes what a task's owner must heed when it ends the task
--     renames that field, before the change, so that none is missed where Redis forbids a command on the
--     way; true where it has an owner

-- What each call of a script costs anew, apart from what it does (callgrind): a function as much as half a command,
-- and a tenth more for each local from outside that it uses, so those that are seldom needed use few; and a number
-- that a command is given, which is printed as a double, so those that are known are written as text.

local call, try = redis.call, redis.pcall
-- An id that was made for a call: a UUID of version 8, whose last group is the address of the process that waits.
local AWAITED = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-8%x%x%x%-[89abAB]%x%x%x%-(%x%x%x%x%x%x%x%x%x%x%x%x)$'
local settles, settled, moments = 0, {}, {}
-- Addresses and messages by turns. Short replies to the same process are grouped: then the message is a list.
local messages, grouped = {}, {}

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function date()
  local time = redis.call('TIME')
  local floor, seconds = math.floor, tonumber(time[1])
  -- The Gregorian calendar in years that begin with March, so that a leap day is a year's last, and
  -- in eras of 400 years, after which it is the same again.
  local days, of_day = floor(seconds / 86400) + 719468, seconds % 86400
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day, floor(of_day / 3600),
    floor(of_day % 3600 / 60), of_day % 60, tonumber(time[2]))
end

local function moment(field)
  local number = tonumber(field)
  return number and number >= 0 and number < 1e16 and string.format('%.0f', number) or nil
end

local function is_no_hash(found)
  if not found.err then
    return false
  end
  if not string.find(found.err, '^WRONGTYPE') then
    error(found.err, 0)
  end
  return true
end

local function answer(id, waiters, kind, a, b)
  -- Longest value that travels in the reply itself: Redis bounds what it buffers for a subscriber.
  local INLINE = 16384
  -- Longest reply that is sent together with others: each string that is made on the way there is hashed,
  -- byte by byte. With shorter ones the messages take longer.
  local SHORT = 1024
  -- Processes that are told of an end, at most: attach.lua notes one less, and the id may name one.
  local WAITERS = 17

  local reply = #id .. ':' .. id
  if #a + #b > INLINE then
    reply = reply .. 'r'
  elseif kind == 'f' then
    reply = reply .. 'f' .. #a .. ':' .. a .. #b .. ':' .. b
  elseif kind == 's' then
    reply = reply .. 's'
  else
    reply = reply .. kind .. #a .. ':' .. a
  end
  local told = 0
  for address in string.gmatch(waiters, '[^,]+') do
    if told == WAITERS then
      break
    end
    told = told + 1
    local group = #reply <= SHORT and grouped[address]
    if group then
      group[#group + 1] = reply
    else
      local message = reply
      if #reply <= SHORT then
        message = { reply }
        grouped[address] = message
      end
      messages[#messages + 1] = address
      messages[#messages + 1] = message
    end
  end
end

-- What is left of an earlier end: somebody made a finished task pending again by hand.
local function drop_stale(key, kind)
  local stale = {
    v = { 'error-reason', 'error-exception', 'cancelled' },
    s = { 'error-reason', 'error-exception', 'cancelled', 'result-value' },
    c = { 'error-exception', 'result-value' },
    f = { 'error-exception', 'result-value', 'cancelled' },
  }
  redis.call('HDEL', key, unpack(stale[kind]))
end

local function settle(key, id, now, reply_to, ttl, kind, a, b, waiters, told)
  local fresh -- whether all fields but the state are new
  if kind == 'v' then
    fresh = call('HSET', key, 'state', 'finished', 'result', 'successful', 'result-value', a,
      'finished-created', now) == 3
  elseif kind == 's' then
    fresh = call('HSET', key, 'state', 'finished', 'result', 'successful', 'finished-created', now) == 2
  elseif kind == 'c' then
    call('HDEL', key, 'cancel')
    fresh = call('HSET', key, 'state', 'finished', 'result', 'failed', 'cancelled', '1', 'error-reason',
      a == '' and 'cancelled' or 'cancelled: ' .. a, 'finished-created', now) == 4
  else
    fresh = call('HSET', key, 'state', 'finished', 'result', 'failed', 'error-reason', a,
      'finished-created', now) == 3
  end
  if not fresh then
    drop_stale(key, kind)
  end
  if b ~= '' and kind == 'f' then
    call('HSET', key, 'error-exception', b)
  end
  if reply_to then
    call('HDEL', key, 'reply-to')
  end
  if waiters == nil then
    local address = string.match(id, AWAITED)
    waiters = address and reply_to and address .. ',' .. reply_to or address or reply_to
  end
  if waiters and not told then
    answer(id, waiters, kind, a, b)
  end
  if ttl == '0' and not waiters then
    call('DEL', key)
  elseif ttl ~= '' then
    -- One that is not to be kept stays for as long where somebody waits: the reply may be lost.
    local kept = ttl == '0' and 60000 or ttl
    -- Several are given the same moment, worked out once: with `PEXPIRE` Redis does it each time.
    local at = moments[kept]
    if at then
      call('PEXPIREAT', key, at)
    elseif settles == 0 then
      call('PEXPIRE', key, kept)
    else
      at = string.format('%.0f', milliseconds() + kept)
      moments[kept] = at
      call('PEXPIREAT', key, at)
    end
  end
  settles = settles + 1
  settled[settles] = key
end

local function announce(results, reply_prefix)
  local MANY = 8 -- messages that cost more than to look whether anybody can hear them
  for i = 1, #messages, 2 do
    local message = messages[i + 1]
    call('PUBLISH', reply_prefix .. messages[i], type(message) == 'table' and table.concat(message) or message)
  end
  if settles >= MANY then
    -- Nobody can where nobody is subscribed to the channel or to any pattern, and there is no replica where somebody
    -- may be: not even one that was here lately, and is sent what it has missed once it comes back.
    local nobody = try('PUBSUB', 'NUMSUB', results)[2] == 0 and try('PUBSUB', 'NUMPAT') == 0
    local replicas = nobody and try('INFO', 'replication')
    if type(replicas) == 'string' and string.find(replicas, 'repl_backlog_active:0\r', 1, true) then
      return
    end
  end
  for i = 1, settles do
    call('PUBLISH', results, settled[i])
  end
end

local function result_ttl(options, default)
  -- Anybody may have written the options.
  local read, given = pcall(cjson.decode, options or '{}')
  local ttl = read and type(given) == 'table' and given.resultTtl
  if type(ttl) == 'number' and ttl >= 0 and ttl < 1e15 then
    return string.format('%.0f', ttl)
  end
  return ttl == cjson.null and '' or default
end

-- One by one where they are few. Where they are many, `LREM` would go through the list again for
-- each, so its ends are read, by turns and further in each time, until all are found: the oldest
-- are at one end, and what has just begun at the other, however much has been running for long.
local function take_out(list, ids)
  local FEW, WINDOW, SPARSE, GONE, PUSHED = 4, 512, 4, '', 1000
  local call, count = redis.call, #ids
  if count <= FEW then
    for i = 1, count do
      call('LREM', list, '-1', ids[i])
    end
    return
  end
  -- What one worker ends in the order in which it was taken are the oldest, and nothing else.
  local oldest = call('LRANGE', list, -count, '-1')
  local same = 0
  while same < count and oldest[count - same] == ids[same + 1] do
    same = same + 1
  end
  if same == count then
    call('LTRIM', list, '0', -count - 1)
    return
  end

  -- One end of the list, as far as it was read: cut off, and what stays put back; or, where much more
  -- was read than goes, each of those overwritten and taken out.
  local function cut(list, side, oldest)
    local gone = #side.gone
    if gone == 0 then
      return
    end
    if side.read > SPARSE * gone then
      for i = 1, gone do
        call('LSET', list, oldest and -side.gone[i] or side.gone[i] - 1, GONE)
      end
      call('LREM', list, oldest and -gone or gone, GONE)
      return
    end
    call('LTRIM', list, oldest and 0 or side.read, oldest and -side.read - 1 or -1)
    local stay = {}
    for i = #side.stay, 1, -1 do
      stay[#stay + 1] = side.stay[i]
    end
    for i = 1, #stay, PUSHED do
      call(oldest and 'RPUSH' or 'LPUSH', list, unpack(stay, i, math.min(i + PUSHED - 1, #stay)))
    end
  end

  local wanted, left = {}, 0
  for i = 1, count do
    if not wanted[ids[i]] then
      wanted[ids[i]] = true
      left = left + 1
    end
  end
  -- From the end inwards: how many were read, the places of those that go, and what stays, as far as it
  -- may have to be put back.
  local old, young = { read = 0, gone = {}, stay = {} }, { read = 0, gone = {}, stay = {} }
  local unread, size = call('LLEN', list), left
  while left > 0 and unread > 0 do
    size = math.min(size, unread)
    local side, window, first, last, step
    if old.read <= young.read then
      side, first, last, step = old, size, 1, -1
      window = call('LRANGE', list, -old.read - size, -old.read - 1)
    else
      side, first, last, step = young, 1, size, 1
      window = call('LRANGE', list, young.read, young.read + size - 1)
    end
    local few = side.read < SPARSE * count
    for i = first, last, step do
      local id = window[i]
      if wanted[id] then
        wanted[id] = nil
        left = left - 1
        side.gone[#side.gone + 1] = side.read + math.abs(i - first) + 1
      elseif few then
        side.stay[#side.stay + 1] = id
      end
    end
    side.read = side.read + size
    unread = unread - size
    size = math.min(2 * size, WINDOW)
  end
  cut(list, old, true)
  cut(list, young, false)
end

local function owner_of(key)
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.find(name, '^owner:') then
      return name
    end
  end
end

local function disown(key, but)
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if name ~= but and string.find(name, '^owner:') then
      redis.call('HDEL', key, name)
    end
  end
end

local function break_seal(key)
  local owned = false
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.find(name, '^owner:') then
      owned = true
      if not string.find(name, '!$') then
        redis.call('HDEL', key, name .. '!') -- forbidden: fail before anything is written
        redis.call('HSET', key, name .. '!', '')
        redis.call('HDEL', key, name)
      end
    end
  end
  return owned
end

local function withdraw(due, pending, id)
  redis.call('ZREM', due, 'expire:' .. id)
  return redis.call('ZREM', due, 'start:' .. id) == 1 or redis.call('LREM', pending, '-1', id) > 0
end
