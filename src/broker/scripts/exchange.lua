-- A worker's one exchange with the queue: writes the outcomes of what it ran, and takes what it
-- has free slots for.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:executing
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  now: executing-created and finished-created of this call
-- ARGV[5]  owner of what this call takes: a token no other call has
-- ARGV[6]  how many tasks to take, at most
-- ARGV[7]  bytes of args after which no more are taken
-- ARGV[8]  '1' where this call is the repetition of one whose answer was lost
-- ARGV[9]  longest value, in bytes, that is sent to a waiter in the message itself
-- ARGV[10…] five for each outcome: id, owner, kind, a, b. Kinds:
--          v successful, a = result-value    s successful without a value
--          f failed, a = error-reason, b = error-exception ('' for none)
--
-- Returns { for each outcome 1 (written) or 0 (this owner has lost the task),
--           taken: id, function, args, pending-created of each, flat, oldest first
--           dropped: id, why (missing | finished | executing | not a hash), flat }
--
-- One step, so that an id is in exactly one place at any time, a task is finished by its owner
-- only, and the hash is final when the messages go out. Safe to repeat: an outcome of this call
-- is known by its finished-created, what it took by its owner.
local pending, executing = KEYS[1], KEYS[2]
local prefix, now, owner = ARGV[1], ARGV[4], ARGV[5]
local want, budget, inline = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])

-- Keys of another type: fail before anything is written.
redis.call('LLEN', pending)
redis.call('LLEN', executing)

local function netstring(text)
  return #text .. ':' .. text
end

local written, finished, replies, addresses = {}, {}, {}, {}
for i = 10, #ARGV, 5 do
  local id, kind, a, b = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key = prefix .. id
  local found = redis.pcall('HMGET', key, 'owner', 'state', 'finished-created', 'reply-to')
  if found.err then
    written[#written + 1] = 0
  elseif found[1] == ARGV[i + 1] then
    if kind == 'v' then
      redis.call('HSET', key, 'state', 'finished', 'result', 'successful', 'result-value', a,
        'finished-created', now)
      redis.call('HDEL', key, 'owner', 'reply-to', 'error-reason', 'error-exception')
    elseif kind == 's' then
      redis.call('HSET', key, 'state', 'finished', 'result', 'successful', 'finished-created', now)
      redis.call('HDEL', key, 'owner', 'reply-to', 'result-value', 'error-reason', 'error-exception')
    elseif b == '' then
      redis.call('HSET', key, 'state', 'finished', 'result', 'failed', 'error-reason', a,
        'finished-created', now)
      redis.call('HDEL', key, 'owner', 'reply-to', 'result-value', 'error-exception')
    else
      redis.call('HSET', key, 'state', 'finished', 'result', 'failed', 'error-reason', a,
        'error-exception', b, 'finished-created', now)
      redis.call('HDEL', key, 'owner', 'reply-to', 'result-value')
    end
    redis.call('LREM', executing, -1, id)
    finished[#finished + 1] = key
    if found[4] then
      local reply
      if #a + #b > inline then
        reply = netstring(id) .. 'r'
      elseif kind == 'f' then
        reply = netstring(id) .. 'f' .. netstring(a) .. netstring(b)
      elseif kind == 'v' then
        reply = netstring(id) .. 'v' .. netstring(a)
      else
        reply = netstring(id) .. 's'
      end
      for address in string.gmatch(found[4], '[^,]+') do
        local parts = replies[address]
        if not parts then
          parts = {}
          replies[address] = parts
          addresses[#addresses + 1] = address
        end
        parts[#parts + 1] = reply
      end
    end
    written[#written + 1] = 1
  else
    if not found[2] and redis.call('EXISTS', key) == 0 then
      redis.call('LREM', executing, -1, id) -- deleted while it ran: nobody else will take it out
    end
    written[#written + 1] = (found[2] == 'finished' and found[3] == now) and 1 or 0
  end
end
for _, address in ipairs(addresses) do
  redis.call('PUBLISH', ARGV[3] .. address, table.concat(replies[address]))
end
for _, key in ipairs(finished) do
  redis.call('PUBLISH', ARGV[2], key)
end

local taken, dropped = {}, {}

if ARGV[8] == '1' then
  local ids = redis.call('LRANGE', executing, 0, -1)
  for i = #ids, 1, -1 do
    local found = redis.pcall('HMGET', prefix .. ids[i], 'function', 'args', 'pending-created', 'owner')
    if not found.err and found[4] == owner then
      taken[#taken + 1] = ids[i]
      taken[#taken + 1] = found[1]
      taken[#taken + 1] = found[2]
      taken[#taken + 1] = found[3]
    end
  end
  if #taken > 0 then
    return { written, taken, dropped }
  end
end

local ids = want > 0 and redis.call('RPOP', pending, want) or {}
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
  local found = redis.pcall('HMGET', key, 'function', 'args', 'pending-created', 'state', 'owner')
  local why
  if found.err then
    why = 'not a hash'
  elseif found[4] == 'finished' then
    why = 'finished'
  elseif found[4] == 'executing'
    and (found[5] == owner or redis.call('LPOS', executing, id)) then
    why = 'executing'
  elseif not found[1] and not found[4] and redis.call('EXISTS', key) == 0 then
    why = 'missing'
  end
  if why then
    dropped[#dropped + 1] = id
    dropped[#dropped + 1] = why
  else
    redis.call('HSET', key, 'state', 'executing', 'executing-created', now, 'owner', owner)
    started[#started + 1] = id
    taken[#taken + 1] = id
    taken[#taken + 1] = found[1]
    taken[#taken + 1] = found[2]
    taken[#taken + 1] = found[3]
    bytes = bytes + (found[2] and #found[2] or 0)
  end
end
if #started > 0 then
  redis.call('LPUSH', executing, unpack(started))
end
return { written, taken, dropped }
