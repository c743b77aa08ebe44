-- Puts new tasks into the queue: every hash written, then all ids pushed.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:due
-- KEYS[3]  {q}:sent:{name}: for each of this client's places on the way, its latest call
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  pending-created, one for the whole call, which no other call of this client has
-- ARGV[3]  channel {q}:wake
-- ARGV[4]  the place on the way that this call has
-- ARGV[5…] records, each beginning with its kind:
--          f function      of the tasks that follow
--          w reply-to      of the tasks that follow: who waits, where their ids don't say it; '' for nobody
--          n n             so many plain tasks follow, of ids that were made for them, so that nobody
--                          needs to look whether they are there: all ids, then all args
--          p n             so many plain tasks: id, args
--          x n             so many tasks: id, args, extra. extra: new|start|expires|options.
--                          new: 'n', an id as n has it; '1', a finished task of this id is run anew.
--                          start, expires: '' or '+' and milliseconds from now or '@' and milliseconds
--                          since 1970. options: '' or JSON, written as it is
--
-- Returns 1 where all were created by this call; or for each task 1, 0 (there already, left as it is),
-- or -1 (the key holds something else than a hash).
--
-- One step, because an id that is pending must have its hash, and the other way round.
-- Safe to repeat after an answer that was lost: which call was carried out last is noted under its
-- place, and neither that one nor an earlier one, which comes late, is carried out again. Looking
-- for its tasks would not do: they may have run, and have been removed.
local call, ARGV = redis.call, ARGV -- globals are looked up by name each time
local prefix, now = ARGV[1], ARGV[2]

local latest = call('HGET', KEYS[3], ARGV[4])
local late = latest and latest >= now

-- What is written is gathered first, and the hashes are written last: where Redis forbids a command on
-- the way, no hash is left behind that would keep the call from being made again.
local made = {} -- runs of tasks whose ids were made for them: the first's place, how many, function, waiter
local others = {} -- of each other task: key, function, waiter, args, replaces, options, expires
local put_off = {} -- entries of `due`, and when
local ids, first_id, pushed = {}, 1, 0 -- what goes into `pending`: a list, where in it, how many

-- Makes the function that takes in a task whose id somebody gave, or that has options. Within another, because each
-- function costs every call, and more with each local that it uses.
local function adder(prefix, now, late, made, others, put_off)
  local call, ARGV = redis.call, ARGV

  -- Of a call that was carried out before: whether it made this task.
  local told = {}
  local function made_before(id, key)
    local found = redis.pcall('HGET', key, 'pending-created')
    if type(found) == 'table' then
      return -1
    end
    local ours = found == now or not found and call('EXISTS', key) == 0
    local answer = ours and not told[id] and 1 or 0
    told[id] = true
    return answer
  end

  -- What is there of that id: 1 nothing, 0 a task, -1 something else; and whether it is finished.
  local seen, noted, noted_others = {}, 0, 0
  local function look(key)
    while noted < #made do
      noted = noted + 1
      for i = made[noted][1], made[noted][1] + made[noted][2] - 1 do
        seen[prefix .. ARGV[i]] = true
      end
    end
    while noted_others < #others do
      noted_others = noted_others + 1
      seen[others[noted_others][1]] = true
    end
    if seen[key] then
      return 0
    end
    if call('EXISTS', key) == 0 then
      return 1
    end
    local state = redis.pcall('HGET', key, 'state')
    if type(state) == 'table' and not string.find(state.err, '^WRONGTYPE') then
      error(state.err, 0)
    end
    if type(state) == 'table' then
      return -1
    end
    return 0, state == 'finished'
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

  -- The task's answer, and whether its id goes into `pending`.
  return function(id, text, extra, of_function, waiter)
    local key, answer = prefix .. id, 1
    local fresh, start, expires, options, replaces = false, '', '', '', false
    if extra then
      local which
      which, start, expires, options = string.match(extra, '^(.-)|(.-)|(.-)|(.*)$')
      fresh, replaces = which == 'n', which == '1'
    end
    if late then
      return made_before(id, key), false
    elseif not fresh then
      local finished
      answer, finished = look(key)
      replaces = replaces and finished
      answer = replaces and 1 or answer
    end
    if answer ~= 1 then
      return answer, false
    end
    if expires ~= '' then
      expires = at(expires)
      put_off[#put_off + 1] = { 'expire:' .. id, expires }
      options = options == '' and '{}' or options -- who takes it looks at the rest only where it is there
    end
    if start ~= '' then
      put_off[#put_off + 1] = { 'start:' .. id, at(start) }
    end
    others[#others + 1] = { key, of_function, waiter, text, replaces, options, expires }
    return 1, start == ''
  end
end

local of_function, waiter, add
local tasks, refused = 0, false -- the answers that are not 1, by the task's number

local next, last = 5, #ARGV
while next <= last do
  local kind, what = ARGV[next], ARGV[next + 1]
  next = next + 2
  if kind == 'f' then
    of_function = what
  elseif kind == 'w' then
    waiter = what ~= '' and what or nil
  else
    local first, count, words = next, tonumber(what), kind == 'x' and 3 or 2
    next = next + count * words
    if kind == 'n' then
      made[#made + 1] = { first, count, of_function, waiter }
      if pushed == 0 and next > last then
        ids, first_id, pushed = ARGV, first, count -- nothing else goes into `pending`
      else
        for i = first, first + count - 1 do
          pushed = pushed + 1
          ids[pushed] = ARGV[i]
        end
      end
      tasks = tasks + count
    else
      add = add or adder(prefix, now, late, made, others, put_off)
      for i = first, next - 1, words do
        local answer, goes = add(ARGV[i], ARGV[i + 1], words > 2 and ARGV[i + 2], of_function, waiter)
        tasks = tasks + 1
        if goes then
          pushed = pushed + 1
          ids[pushed] = ARGV[i]
        end
        if answer ~= 1 then
          refused = refused or {}
          refused[tasks] = answer
        end
      end
    end
  end
end

local answers = 1
if refused then
  answers = {}
  for i = 1, tasks do
    answers[i] = refused[i] or 1
  end
end
if late then
  return answers
end

local wake = false
if #put_off > 0 then
  call('LLEN', KEYS[1]) -- a key of another type: fail before anything is written
  for _, entry in ipairs(put_off) do
    call('ZADD', KEYS[2], entry[2], entry[1])
    wake = wake or call('ZRANGE', KEYS[2], '0', '0')[1] == entry[1]
  end
end
if pushed > 0 then
  call('LPUSH', KEYS[1], unpack(ids, first_id, first_id + pushed - 1))
end

for _, task in ipairs(others) do
  local key, of_function, waiter, text, replaces, options, expires = unpack(task, 1, 7)
  if replaces then
    call('DEL', key)
  end
  if waiter then
    call('HSET', key, 'function', of_function, 'state', 'pending', 'args', text, 'pending-created', now,
      'reply-to', waiter)
  else
    call('HSET', key, 'function', of_function, 'state', 'pending', 'args', text, 'pending-created', now)
  end
  if options ~= '' then
    call('HSET', key, 'options', options)
  end
  if expires ~= '' then
    call('HSET', key, 'expires', string.format('%.0f', expires))
  end
end
for _, run in ipairs(made) do
  local first, count, of_function, waiter = unpack(run, 1, 4)
  for i = first, first + count - 1 do
    if waiter then
      call('HSET', prefix .. ARGV[i], 'function', of_function, 'state', 'pending', 'args', ARGV[i + count],
        'pending-created', now, 'reply-to', waiter)
    else
      call('HSET', prefix .. ARGV[i], 'function', of_function, 'state', 'pending', 'args', ARGV[i + count],
        'pending-created', now)
    end
  end
end
call('HSET', KEYS[3], ARGV[4], now)
if not latest or string.sub(latest, 1, 13) ~= string.sub(now, 1, 13) then -- another hour
  call('PEXPIRE', KEYS[3], '86400000')
end
if wake then
  redis.pcall('PUBLISH', ARGV[3], 'due') -- a hint: without it they are looked at within a second
end
return answers
