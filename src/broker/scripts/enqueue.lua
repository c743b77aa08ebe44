-- Puts new tasks into the queue: every hash written, then all ids pushed.
--
-- KEYS[1]  {q}:pending
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  pending-created, one for the whole call
-- ARGV[3…] five for each task: id, function, args, reply-to ('' where nobody waits),
--          again ('1': a finished task of this id is run anew; '' otherwise)
--
-- Returns one integer for each task: 1 created by this call, 0 there already (left as it is),
-- -1 where the key holds something else than a hash.
--
-- One step, because an id that is pending must have its hash, and the other way round.
-- Safe to repeat after an answer that was lost: a task that this very call made, known by its
-- pending-created, is reported as created and is not pushed again.
local prefix, now = ARGV[1], ARGV[2]
redis.call('LLEN', KEYS[1]) -- a key of another type: fail before anything is written
local answers, ids, made = {}, {}, {}
for i = 3, #ARGV, 5 do
  local id = ARGV[i]
  local key = prefix .. id
  local answer = 1
  local write = true
  if redis.call('EXISTS', key) == 1 then
    local found = redis.pcall('HMGET', key, 'state', 'pending-created')
    if found.err then
      answer, write = -1, false
    elseif ARGV[i + 4] == '1' and found[1] == 'finished' and found[2] ~= now then
      redis.call('DEL', key)
    else
      answer, write = (found[2] == now and not made[id]) and 1 or 0, false
    end
  end
  if write then
    made[id] = true
    if ARGV[i + 3] == '' then
      redis.call('HSET', key, 'function', ARGV[i + 1], 'state', 'pending', 'args', ARGV[i + 2],
        'pending-created', now)
    else
      redis.call('HSET', key, 'function', ARGV[i + 1], 'state', 'pending', 'args', ARGV[i + 2],
        'pending-created', now, 'reply-to', ARGV[i + 3])
    end
    ids[#ids + 1] = id
  end
  answers[#answers + 1] = answer
end
if #ids > 0 then
  redis.call('LPUSH', KEYS[1], unpack(ids))
end
return answers
