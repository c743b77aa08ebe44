-- Puts new tasks into the queue: every hash written, then all ids pushed.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:due
-- KEYS[3]  {q}:sent:{address}: for each of this client's places on the way, its latest call
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  pending-created, one for the whole call, which no other call of this client has
-- ARGV[3]  channel {q}:wake
-- ARGV[4]  the place on the way that this call has
-- ARGV[5…] five for each task: id, function, args, reply-to ('' where nobody waits), extra:
--          '' for a plain task, or again|start|expires|options, or the first of them alone.
--          again: '1', a finished task of this id is run anew; 'n', the id is new, made for this
--          task, and nobody needs to look whether it is there. start, expires: '' or '+' and
--          milliseconds from now or '@' and milliseconds since 1970. options: '' or JSON, written as
--          it is
--
-- Returns one integer for each task: 1 created by this call, 0 there already (left as it is),
-- -1 where the key holds something else than a hash.
--
-- One step, because an id that is pending must have its hash, and the other way round.
-- Safe to repeat after an answer that was lost: which call was carried out last is noted under its
-- place, and neither that one nor an earlier one, which comes late, is carried out again. Looking
-- for its tasks would not do: they may have run, and have been removed.
local call = redis.call
local prefix, now = ARGV[1], ARGV[2]
local answers = {}

local latest = call('HGET', KEYS[3], ARGV[4])
if latest and latest >= now then
  local seen = {}
  for i = 5, #ARGV, 5 do
    local id = ARGV[i]
    local found = redis.pcall('HGET', prefix .. id, 'pending-created')
    if type(found) == 'table' then
      answers[#answers + 1] = -1
    else
      local ours = found == now or not found and call('EXISTS', prefix .. id) == 0
      answers[#answers + 1] = ours and not seen[id] and 1 or 0
    end
    seen[id] = true
  end
  return answers
end

local clock
local function at(time)
  if string.sub(time, 1, 1) == '@' then
    return tonumber(string.sub(time, 2))
  end
  if not clock then
    local parts = call('TIME')
    clock = parts[1] * 1000 + math.floor(parts[2] / 1000)
  end
  return clock + tonumber(time)
end

-- What is to be written is gathered first, and the hashes are written last: where Redis forbids a
-- command on the way, no hash is left behind that would keep the call from being made again.
local ids, new, keys, more, put_off, seen = {}, {}, {}, {}, {}, {}
for i = 5, #ARGV, 5 do
  local id, extra = ARGV[i], ARGV[i + 4]
  local key = prefix .. id
  local again, start, expires, options = extra, '', '', ''
  if #extra > 1 then
    again, start, expires, options = string.match(extra, '^(.-)|(.-)|(.-)|(.*)$')
  end
  local answer, replaces = 1, false
  if again == 'n' then
    answer = 1
  elseif seen[id] then
    answer = 0
  elseif call('EXISTS', key) == 1 then
    local state = redis.pcall('HGET', key, 'state')
    if type(state) == 'table' and not string.find(state.err, '^WRONGTYPE') then
      error(state.err, 0)
    elseif type(state) == 'table' then
      answer = -1
    elseif again == '1' and state == 'finished' then
      replaces = true
    else
      answer = 0
    end
  end
  if answer == 1 then
    seen[id] = true
    new[#new + 1] = i
    keys[#new] = key
    if expires ~= '' then
      expires = at(expires)
      put_off[#put_off + 1] = { 'expire:' .. id, expires }
      options = options == '' and '{}' or options -- who takes it looks at the rest only where it is there
    end
    if start ~= '' then
      put_off[#put_off + 1] = { 'start:' .. id, at(start) }
    else
      ids[#ids + 1] = id
    end
    if replaces or #extra > 1 then
      more[i] = { replaces = replaces, options = options, expires = expires }
    end
  end
  answers[#answers + 1] = answer
end

local wake = false
if #put_off > 0 then
  call('LLEN', KEYS[1]) -- a key of another type: fail before anything is written
end
for _, entry in ipairs(put_off) do
  call('ZADD', KEYS[2], entry[2], entry[1])
  wake = wake or call('ZRANGE', KEYS[2], 0, 0)[1] == entry[1]
end
if #ids > 0 then
  call('LPUSH', KEYS[1], unpack(ids))
end
for n, i in ipairs(new) do
  local key, reply_to, extra = keys[n], ARGV[i + 3], more[i]
  if extra and extra.replaces then
    call('DEL', key)
  end
  if reply_to == '' then
    call('HSET', key, 'function', ARGV[i + 1], 'state', 'pending', 'args', ARGV[i + 2],
      'pending-created', now)
  else
    call('HSET', key, 'function', ARGV[i + 1], 'state', 'pending', 'args', ARGV[i + 2],
      'pending-created', now, 'reply-to', reply_to)
  end
  if extra and extra.options ~= '' then
    call('HSET', key, 'options', extra.options)
  end
  if extra and extra.expires ~= '' then
    call('HSET', key, 'expires', string.format('%.0f', extra.expires))
  end
end
if call('HSET', KEYS[3], ARGV[4], now) == 1 then
  call('PEXPIRE', KEYS[3], 86400000)
end
if wake then
  redis.pcall('PUBLISH', ARGV[3], 'due') -- a hint: without it they are looked at within a second
end
return answers
