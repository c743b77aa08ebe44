-- Cancels tasks: ends what has not begun, and asks the worker of what is running to abort it.
-- Begins with settle.lua.
--
-- KEYS[1]  {q}:pending
-- KEYS[2]  {q}:due
-- ARGV[1]  prefix of the tasks' keys, {q}:task:
-- ARGV[2]  channel {q}:results
-- ARGV[3]  prefix of the reply channels, {q}:reply:
-- ARGV[4]  channel {q}:cmd, or '' where the worker has been asked already
-- ARGV[5]  now: finished-created of what ends here
-- ARGV[6]  the reason, '' for none
-- ARGV[7]  ttl of what ends here
-- ARGV[8…] ids
--
-- Returns for each id { what, reason }, the reason being the first that was given:
--   cancelled   it had not begun, and is finished now
--   executing   it has begun: the worker hears of it, or finds the field `cancel`
--   finished    too late
--   missing     no such task    not a hash
--
-- One step, so that a task is either ended here or found by its worker to be cancelled. Safe to
-- repeat: what this call has ended is known by its finished-created, and the field is written once.
local answers = {}
for i = 8, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. id
  local found = try('HMGET', key, 'state', 'reply-to', 'options', 'function',
    'finished-created', 'cancelled')
  local what, reason = nil, ARGV[6]
  if is_no_hash(found) then
    what = 'not a hash'
  elseif found[1] == 'finished' then
    local by_this_call = found[6] and found[5] == ARGV[5]
    what = by_this_call and 'cancelled' or 'finished'
  elseif not found[1] and not found[4] and call('EXISTS', key) == 0 then
    what = 'missing'
  elseif found[1] ~= 'executing' and withdraw(KEYS[2], KEYS[1], id) then
    disown(key)
    settle(key, id, ARGV[5], found[2], result_ttl(found[3], ARGV[7]), 'c', reason, '')
    what = 'cancelled'
  else
    what = 'executing'
    if found[5] and found[1] ~= 'executing' then
      call('HDEL', key, 'finished-created') -- put in again by hand, in part: the mark is of this life
    end
    break_seal(key)
    call('HSETNX', key, 'cancel', reason)
    call('HSETNX', key, 'options', '{}') -- whoever takes it, were it pushed only now, looks
    reason = call('HGET', key, 'cancel')
    if ARGV[4] ~= '' then
      call('PUBLISH', ARGV[4], 'task:kill:' .. key)
    end
  end
  answers[#answers + 1] = { what, reason }
end
announce(ARGV[2], ARGV[3])
return answers
