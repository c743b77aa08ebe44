-- Hands tasks that a worker took, and will not run to an end, back to the queue: first in line,
-- in the order in which they were taken. Called by a worker for its own, and by any worker for
-- those of a dead one. Begins with settle.lua.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:executing
-- KEYS[3]  {q}:due
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  prefix of the workers' keys, {q}:worker:
-- ARGV[5]  now: finished-created of what ends here
-- ARGV[6]  '' where no harm is suspected; or after how many lost runs a task is given up: this one
--          counts as lost
-- ARGV[7]  '1': only where the owner's worker has no key any more
-- ARGV[8]  ttl of a task that ends here
-- ARGV[9…] two for each task, oldest first: id, owner; or, of one that has none, '@', its
--          executing-created, '|' and its `lost`, each as far as there is one: only where it has none
--          still, and those are as they were
--
-- Returns { how many went back, how many ended: cancelled meanwhile, or lost too often }
--
-- One step, so that the worker's death, the owner and the task's place are looked at together: a
-- worker that comes back to life finishes the task before this or has lost it. A task that this
-- owner has lost is left alone, which also makes the call safe to repeat; one without an owner is counted
-- as lost, and by that another from then on.
local pending, executing, due = KEYS[1], KEYS[2], KEYS[3]
call('LLEN', pending)
call('LLEN', executing)
call('ZCARD', due)

local dead = {}
local function is_dead(owner)
  local worker = string.match(owner, '^(.*):') or owner
  if dead[worker] == nil then
    dead[worker] = call('EXISTS', ARGV[4] .. worker) == 0
  end
  return dead[worker]
end

-- Anybody may have written the field.
local function count(field)
  local number = tonumber(field)
  return number and number >= 0 and number < 1e9 and math.floor(number) or 0
end

local back, through = 0, {}
for i = #ARGV - 1, 9, -2 do
  local id, owner = ARGV[i], ARGV[i + 1]
  local key = ARGV[1] .. id
  local seal = 'owner:' .. owner
  local found = try('HMGET', key, seal, 'state', 'cancel', 'reply-to', 'options', 'expires', 'lost',
    seal .. '!', 'executing-created')
  local ours = not is_no_hash(found)
  if ours and string.sub(owner, 1, 1) == '@' then
    local same = owner == '@' .. (found[9] or '') .. '|' .. (found[7] or '')
    ours = same and not owner_of(key) and call('LPOS', executing, id)
    if ours and (found[2] == 'finished' or not found[2] and call('EXISTS', key) == 0) then
      ours = false
      through[#through + 1] = id -- deleted, or pushed twice: nobody else will take it out
    end
  elseif ours then
    ours = (found[1] or found[8]) and (ARGV[7] ~= '1' or is_dead(owner))
  end
  if ours then
    local counts, lost = ARGV[6] ~= '', count(found[7])
    if counts then
      lost = lost + 1
      call('HSETNX', key, 'options', '{}') -- who takes it looks at the rest only where it is there
    end
    local given_up = counts and lost >= tonumber(ARGV[6])
    if found[3] or given_up then
      if counts then
        call('HSET', key, 'lost', lost)
      end
      local ttl = result_ttl(found[5], ARGV[8])
      if found[3] then
        settle(key, id, ARGV[5], found[4], ttl, 'c', found[3], '')
      else
        settle(key, id, ARGV[5], found[4], ttl, 'f', 'given up after ' .. lost
          .. ' deliveries: each time the worker that ran it died or lost its connection', '')
      end
      call('HDEL', key, seal, seal .. '!')
    else
      -- The state and the owner last: where Redis forbids a command before, nobody takes the task, and the loss
      -- has not been counted.
      local expires = moment(found[6])
      if expires then
        call('ZADD', due, expires, 'expire:' .. id)
      end
      call('RPUSH', pending, id)
      back = back + 1
      if counts then
        call('HSET', key, 'state', 'pending', 'lost', lost)
      else
        call('HSET', key, 'state', 'pending')
      end
      call('HDEL', key, 'executing-created', seal, seal .. '!')
    end
    through[#through + 1] = id
  end
end
take_out(executing, through)
announce(ARGV[2], ARGV[3])
return { back, #settled }
