-- What is due: starts tasks whose time has come, ends those that have not begun by theirs, and
-- names workers that have died. Called by each worker about once a second, and when something is
-- due. Begins with settle.lua.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:due: start:{id} and expire:{id}, by milliseconds since 1970
-- KEYS[3]  {q}:workers: their ids, by when their keys expire
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  now: finished-created of what ends here
-- ARGV[5]  ttl of what ends here
-- ARGV[6]  for how many milliseconds the caller takes care of the dead workers that it is told of,
--          so that not all do; '0' where it does not want to
--
-- Returns { milliseconds until the next is due or -1, how many are pending, ids of dead workers … }
--
-- Safe to repeat: what was due is in the set no longer.
local pending, due, workers = KEYS[1], KEYS[2], KEYS[3]
-- Members looked at in one call, and how long `pending` may be for an expired id to be looked for
-- in it. In a longer list it stays, and is found to have expired by who takes it.
local MOST, SEARCHED = 100, 10000

local clock = milliseconds()
call('LLEN', pending)
for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', clock, 'LIMIT', 0, MOST)) do
  local what, id = string.match(member, '^(%a+):(.*)$')
  local key = ARGV[1] .. (id or '')
  local found = id and try('HMGET', key, 'state', 'reply-to', 'options', 'attempt', 'expires')
  -- What is not pending was deleted, or written by somebody else: nothing of ours.
  local ours = found and not is_no_hash(found) and found[1] == 'pending'
  if ours and what == 'start' then
    call('LPUSH', pending, id)
  end
  call('ZREM', due, member)
  local expired = ours and what == 'expire' and (tonumber(found[5]) or math.huge) <= clock
  if expired and call('LLEN', pending) <= SEARCHED and withdraw(due, pending, id) then
    local which = found[4] and 'attempt ' .. found[4] or 'it'
    disown(key)
    settle(key, id, ARGV[4], found[2], result_ttl(found[3], ARGV[5]), 'f',
      'expired: ' .. which .. ' had not begun by then', '')
  end
end
announce(ARGV[2], ARGV[3])

local next = call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local answer = { next and math.max(0, math.ceil(next - clock)) or -1, call('LLEN', pending) }
if ARGV[6] ~= '0' then
  for _, worker in ipairs(call('ZRANGEBYSCORE', workers, '-inf', clock, 'LIMIT', 0, MOST)) do
    call('ZADD', workers, clock + ARGV[6], worker)
    answer[#answer + 1] = worker
  end
end
return answer
