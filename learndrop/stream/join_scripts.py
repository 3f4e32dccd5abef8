"""How a worker comes to a stream, and what the two miss of each other, as Lua run undivided."""

from __future__ import annotations

from learndrop.server.script_parts import IDS, VANISHED

JOIN = (
    IDS
    + """
-- KEYS stream, counters; ARGV group, position, epoch, data folder or '', then the account as it was
-- known last (names and numbers) or nothing. The group now reads what comes after the position.
-- Returns what it found ('well', 'emptied', 'foreign', 'behind' or 'ahead'), the last id of the
-- stream, the last acknowledged; where the stream is behind, how many entries it had when that was
-- found, all before the position; and whether the account was put back.
local counters, position = KEYS[2], ARGV[2]
local lost, known = redis.call('HSETNX', counters, 'epoch', ARGV[3]) == 1, #ARGV > 4
if lost then
  -- The account was deleted under us: what is known of it is put back, what waits is counted anew.
  redis.call('HSET', counters, 'uncounted', '1')
  for i = 5, #ARGV, 2 do redis.call('HINCRBY', counters, ARGV[i], ARGV[i + 1]) end
end
local restored = lost and known and '1' or '0'
local function join(from)
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], from, 'MKSTREAM')
  if made.err then
    if not string.find(made.err, 'BUSYGROUP') then return made end
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], from)
  end
  redis.call('HSET', counters, 'seen', from)
end
local failed = join(position)
if failed then return failed end
local last = '0-0'
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
local acked, folder = unpack(redis.call('HMGET', counters, 'acked', 'folder'))
acked = acked or '0-0'
if folder and ARGV[4] ~= '' and folder ~= ARGV[4] then
  join('0-0')  -- the position is of another stream, and says nothing here
  return {'foreign', last, acked, '0', restored}
end
local short = before(last, position)
if lost and (short and last ~= '0-0' or not known and position ~= '0-0') then
  redis.call('HSET', counters, 'emptied', '1')
end
-- Ids only ever grow from here, or what is accepted next would count as already learned.
local function grow() redis.call('XSETID', KEYS[1], position) end
if redis.call('HEXISTS', counters, 'emptied') == 1 then
  -- All that lies there is new, whatever its ids; so it is until a checkpoint has some of it.
  if last == '0-0' then grow() end
  join('0-0')
  return {'emptied', last, acked, '0', restored}
end
if short then
  if last ~= '0-0' then
    redis.call('HSET', counters, 'behind', last .. ' ' .. redis.call('XLEN', KEYS[1]))
  end
  grow()
end
-- Kept until the worker goes on: the id of the stream does not tell it any more.
local behind = redis.call('HGET', counters, 'behind')
if behind then
  local ended, left = string.match(behind, '^(%S+) ?(%d*)$')
  if before(ended, position) then
    return {'behind', ended, acked, left == '' and '0' or left, restored}
  end
  redis.call('HDEL', counters, 'behind')  -- that was with another data folder
end
return {before(position, acked) and 'ahead' or 'well', last, acked, '0', restored}
"""
)

RECOUNT = """
-- KEYS stream, counters, foreign; ARGV from, up to, most; '-' and '' to begin. Where the account
-- was lost, counts the bytes of what waits anew, and how many wait of each key. Returns where to go
-- on, and up to where: what comes after that counts itself. '' at the end.
if redis.call('HEXISTS', KEYS[2], 'uncounted') == 0 then return {'', ''} end
local upto = ARGV[2]
if upto == '' then
  redis.call('HSET', KEYS[2], 'bytes', '0')
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(name, 1, 8) == 'waiting:' then redis.call('HDEL', KEYS[2], name) end
  end
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  upto = newest[1] and newest[1][1] or '0-1'
end
local found, bytes = redis.call('XRANGE', KEYS[1], ARGV[1], upto, 'COUNT', ARGV[3]), 0
for _, entry in ipairs(found) do
  local size, ours, who = 0, false, nil
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if name == 'image' then size = #value end
    if name == 'by' and value == 'learndrop' then ours = true end
    if name == 'key' then who = value end
  end
  if ours and who then redis.call('HINCRBY', KEYS[2], 'waiting:' .. who, 1) end
  -- One that was written by hand counts from when a worker has seen it.
  if ours or redis.call('SISMEMBER', KEYS[3], entry[1]) == 1 then bytes = bytes + size end
end
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
if #found == tonumber(ARGV[3]) then return {'(' .. found[#found][1], upto} end
redis.call('HDEL', KEYS[2], 'uncounted')
return {'', upto}
"""

UNTAKEN = """
-- KEYS stream; ARGV from, to, most. How many entries lie there, and the last one's id.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ''}
"""

GAP = (
    VANISHED
    + """
-- KEYS counters, dead, dead reasons; ARGV what the worker waits for or '', samples that only the
-- checkpoint has, samples that the worker knows to be accepted and nobody has, time, dead letters
-- kept. The first are in the weights: once it goes on they count as accepted and learned, and the
-- others as accepted and buried.
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'gap', ARGV[1])
  return 0
end
local learned, gone = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HDEL', KEYS[1], 'gap', 'behind')
redis.call('HINCRBY', KEYS[1], 'accepted', learned + gone)
redis.call('HINCRBY', KEYS[1], 'learned', learned)
if gone > 0 then
  local why = 'were lost by Redis, which had accepted them'
  count_vanished(KEYS[1], KEYS[2], KEYS[3], ARGV[5], gone, why, ARGV[4])
end
return 0
"""
)
