-- Hands tasks that a worker took, and will not run to an end, back to the queue: first in line,
-- in the order in which they were taken.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:executing
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2…] two for each task, oldest first: id, owner
--
-- Returns how many went back. A task that this owner has lost is left alone, which also makes
-- the call safe to repeat: what went back has no owner any more.
redis.call('LLEN', KEYS[1])
redis.call('LLEN', KEYS[2])
local back = {}
for i = #ARGV - 1, 2, -2 do
  local key = ARGV[1] .. ARGV[i]
  local owner = redis.pcall('HGET', key, 'owner')
  if owner == ARGV[i + 1] then
    redis.call('HSET', key, 'state', 'pending')
    redis.call('HDEL', key, 'owner', 'executing-created')
    redis.call('LREM', KEYS[2], -1, ARGV[i])
    back[#back + 1] = ARGV[i]
  end
end
if #back > 0 then
  redis.call('RPUSH', KEYS[1], unpack(back))
end
return #back
