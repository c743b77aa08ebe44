-- Reads where tasks stand, and asks whoever finishes them to send the outcome to a waiter.
-- Begins with settle.lua.
--
-- KEYS     the tasks' keys
-- ARGV[1]  the waiter's address: the last part of its reply channel, {q}:reply:{address}
-- ARGV[2]  how many addresses a task has at most
-- ARGV[3]  prefix of the tasks' keys, {q}:task:
--
-- Returns one array for each key:
--   { 'finished', result, result-value, error-reason, error-exception, cancelled }
--   { 'waiting', owned, state }   the address is in reply-to now, if there was room, unless it is in the
--                                 id. owned: 1 where it is executing, and has an owner
--   { 'missing' }                 no such key
--   { 'not a hash' }
--
-- One step, so that no finish falls between the look and the request. Safe to repeat.
local address = ARGV[1]
local answers = {}
for i, key in ipairs(KEYS) do
  local found = try('HMGET', key, 'state', 'result', 'result-value', 'error-reason',
    'error-exception', 'function', 'reply-to', 'cancelled')
  if is_no_hash(found) then
    answers[i] = { 'not a hash' }
  elseif found[1] == 'finished' then
    answers[i] = { 'finished', found[2], found[3], found[4], found[5], found[8] }
  elseif not found[1] and not found[6] and call('EXISTS', key) == 0 then
    answers[i] = { 'missing' }
  else
    local owned
    if string.match(string.sub(key, #ARGV[3] + 1), AWAITED) == address then
      owned = owner_of(key)
    else
      owned = break_seal(key) -- whatever the state: somebody may have changed that by hand
      local waiters = found[7]
      if not waiters or waiters == '' then
        call('HSET', key, 'reply-to', address)
      elseif not string.find(',' .. waiters .. ',', ',' .. address .. ',', 1, true) then
        local _, commas = string.gsub(waiters, ',', ',')
        if commas + 1 < tonumber(ARGV[2]) then
          call('HSET', key, 'reply-to', waiters .. ',' .. address)
        end
      end
    end
    answers[i] = { 'waiting', owned and found[1] == 'executing' and 1 or false, found[1] }
  end
end
return answers
