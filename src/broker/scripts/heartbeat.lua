-- Shows a worker as alive.
--
-- KEYS[1]  {q}:worker:{uuid}
-- KEYS[2]  {q}:workers
-- ARGV[1]  its uuid
-- ARGV[2]  milliseconds without a heartbeat after which it counts as dead
-- ARGV[3]  the number of its latest repeated exchange: see exchange.lua
-- ARGV[4…] the fields of its hash and their values
--
-- Returns { 1 where its key was there, 0 where it was not: at first, and where it has counted as
-- dead; Redis's clock in milliseconds }
--
-- One step, because a worker that has a key must be among the workers: there its death is noticed.
local there = redis.call('EXISTS', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('HSETNX', KEYS[1], 'repeated', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], clock + ARGV[2], ARGV[1])
return { there, clock }
