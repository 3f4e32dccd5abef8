"""The steps on the stream that must happen as a whole, as Lua that Redis runs undivided.

Only commands and options that every server since Redis 6.2 has, so also every Valkey. The account
`accepted = learned + buried + deleted + pending` rests on one rule: an entry leaves the stream in
the script that counts it. What then is missing was taken by another hand, and is exactly countable.

An entry's fate is written in that script too. Entries are learned in the order of their ids, so
`fates` is a stream under these same ids; what is buried or deleted out of turn is set aside in a
sorted set until the learned ones have come so far.
"""

from __future__ import annotations

from learndrop.script_parts import ALWAYS, ASIDE, IDS, LETTER, SETTLE

FENCE = (
    ALWAYS
    + """
-- Put before what only the worker that leads may do. The last key is the lease, the last argument
-- the token; what follows does not see them.
local token, lease = table.remove(ARGV), table.remove(KEYS)
local leads = redis.call('HGET', lease, 'token')
if not leads then return redis.error_reply('NOLEASE the lease is gone') end
if leads ~= token then return redis.error_reply('FENCED the worker ' .. leads .. ' leads') end
"""
)

READ = """
-- KEYS stream; ARGV group, consumer, most entries, last id that this worker has read. Gives the
-- next ones, without waiting. A client may come back from a lost connection unnoticed, and to
-- another server: a group that stands elsewhere is not read from.
local group, consumer, most, last = unpack(ARGV)
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
for _, info in ipairs(groups.err and {} or groups) do
  local told = {}
  for i = 1, #info, 2 do told[info[i]] = info[i + 1] end
  if told['name'] == group and told['last-delivered-id'] ~= last then
    return redis.error_reply('STRAYED the group stands at ' .. told['last-delivered-id'])
  end
end
return redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most, 'STREAMS', KEYS[1], '>')
"""

ACK = (
    IDS
    + SETTLE
    + """
-- KEYS also aside, fates; ARGV group, last id that is learned, most entries, fates kept, the data
-- folder of the checkpoint that has them or ''. Returns how many were taken off, and whether more
-- is to do: nobody else is served meanwhile.
if redis.call('HEXISTS', KEYS[2], 'epoch') == 0 then
  return redis.error_reply('STRAYED the account is gone')
end
redis.call('HDEL', KEYS[2], 'emptied')  -- the checkpoint's position is one of this stream now
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'folder', ARGV[5]) end
local most, upto = tonumber(ARGV[3]), ARGV[2]
if before(redis.call('HGET', KEYS[2], 'acked') or '0-0', upto) then
  redis.call('HSET', KEYS[2], 'acked', upto)
end
-- Fates are written in the order of ids, so what is set aside says how far this piece goes; whole
-- milliseconds, as ids within one are in no order there.
local ms, more = string.match(upto, '^%d+'), 0
local aside = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', ms, 'LIMIT', 0, most)
if #aside == most then
  local cut = string.match(aside[most], '^%d+')
  aside = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', cut)
  if cut ~= ms then ms, upto, more = cut, cut .. '-18446744073709551615', 1 end
end
local found = redis.call('XRANGE', KEYS[1], '-', upto, 'COUNT', most)
settle(ARGV[1], found, 'learned')
if #found == most then upto, more = found[most][1], 1 end
local told = {}
for n, entry in ipairs(found) do told[n] = {entry[1], 'learned'} end
for _, fate in ipairs(aside) do
  local id, what = string.match(fate, '^(%S+) (.*)$')
  if not before(upto, id) then
    told[#told + 1] = {id, what}
    redis.call('ZREM', KEYS[5], fate)
  end
end
-- Ids whose entries another hand deleted stay pending for ever unless acknowledged.
local left = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', upto, most)
if not left.err then
  for _, pending in ipairs(left) do
    redis.call('XACK', KEYS[1], ARGV[1], pending[1])
    told[#told + 1] = {pending[1], 'buried vanished deleted by another hand'}
  end
end
table.sort(told, function(a, b) return before(a[1], b[1]) end)
for _, fate in ipairs(told) do
  -- Refused only for an id that lies before one that has a fate: its own is then unknown.
  redis.pcall('XADD', KEYS[6], 'MAXLEN', '~', ARGV[4], fate[1], 'fate', fate[2])
end
return {#found, more}
"""
)

BURY = (
    ASIDE
    + SETTLE
    + LETTER
    + """
-- KEYS also aside, dead, dead reasons; ARGV group, id, reason, why, time, dead letters kept.
-- Returns 1, or 0 if gone.
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end
local fields = found[1][2]
local copy = {'dead-id', ARGV[2], 'dead-reason', ARGV[3], 'dead-why', ARGV[4], 'dead-at', ARGV[5]}
for i = 1, math.min(#fields, 256) do copy[#copy + 1] = fields[i] end
put_letter(KEYS[6], KEYS[7], ARGV[6], copy)
settle(ARGV[1], found, 'buried')
set_aside(KEYS[5], ARGV[2], 'buried ' .. ARGV[3] .. ' ' .. ARGV[4])
return 1
"""
)

DISCARD = (
    IDS
    + ASIDE
    + SETTLE
    + """
-- KEYS also aside; ARGV group, ids. Takes off what still waits, counted as deleted. Says of each
-- whether it waited, was seen by the learner already, or is not on the stream.
local seen = redis.call('HGET', KEYS[2], 'seen') or '0-0'
local said = {}
for n = 2, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[n], ARGV[n])
  if #found == 0 then
    said[n - 1] = 'gone'
  else
    settle(ARGV[1], found, 'deleted')
    set_aside(KEYS[5], ARGV[n], 'deleted')
    said[n - 1] = before(seen, ARGV[n]) and 'waiting' or 'seen'
  end
end
return said
"""
)

FATE = (
    ASIDE
    + """
-- KEYS stream, aside, fates, published, moved; ARGV id. Returns its present id (another one if it
-- was put back from the dead letters), its fate and, if it is learned, the first version that has
-- it; nothing where it is unknown.
local id = ARGV[1]
for _ = 1, 100 do
  local moved = fate_aside(KEYS[5], id)
  if not moved then break end
  id = moved
end
local aside = fate_aside(KEYS[2], id)
if aside then return {id, aside} end
if #redis.call('XRANGE', KEYS[1], id, id) > 0 then return {id, 'pending'} end
local found = redis.call('XRANGE', KEYS[3], id, id)
if #found == 0 then return {} end
local version = redis.call('XRANGE', KEYS[4], id, '+', 'COUNT', 1)
if #version == 0 then return {id, found[1][2][2]} end
return {id, found[1][2][2], version[1][2][2]}
"""
)

PUBLISHED = """
-- KEYS published; ARGV position, version, kept. Under the position as id, so only the first version
-- that has learned so far is taken; the others are refused, which is as it should be.
local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], ARGV[1], 'version', ARGV[2])
return type(added) == 'string' and 1 or 0
"""

HOLD = (
    ASIDE
    + """
-- KEYS in hand, counters, aside; ARGV ids. Marks them as in hand; returns those deleted meanwhile.
local held, gone = {}, {}
for _, id in ipairs(ARGV) do
  if fate_aside(KEYS[3], id) then gone[#gone + 1] = id else held[#held + 1] = id end
end
if #held > 0 then
  redis.call('SET', KEYS[1], table.concat(held, ' '))
  redis.call('HSET', KEYS[2], 'seen', held[#held])
end
return gone
"""
)

CLEAR = """
-- KEYS in hand, suspects; ARGV whether nothing is in hand any more, then ids that killed nobody.
if ARGV[1] == '1' then redis.call('DEL', KEYS[1]) end
for i = 2, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i], ARGV[i] .. ':alone') end
return 0
"""

GAP = """
-- KEYS counters; ARGV what the worker waits for or '', samples that only the checkpoint has. Those
-- are in the weights: once it goes on they count as accepted and learned.
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'gap', ARGV[1])
else
  redis.call('HDEL', KEYS[1], 'gap', 'behind')
  redis.call('HINCRBY', KEYS[1], 'accepted', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'learned', ARGV[2])
end
return 0
"""

ADOPT = """
-- KEYS counters, foreign; ARGV id, bytes, id, bytes, ... Counts entries that were written by hand.
for i = 1, #ARGV, 2 do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'accepted', 1)
    redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[i + 1])
  end
end
return 0
"""

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
  -- The account was deleted under us: what is known of it is put back.
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

UNTAKEN = """
-- KEYS stream; ARGV from, to, most. How many entries lie there, and the last one's id.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ''}
"""

BLAME = """
-- KEYS in hand, suspects. Whoever was in hand when the worker died has one death more.
local held = redis.call('GET', KEYS[1])
if held then
  local number, last = 0, ''
  for id in string.gmatch(held, '%S+') do
    redis.call('HINCRBY', KEYS[2], id, 1)
    number, last = number + 1, id
  end
  if number == 1 then redis.call('HSET', KEYS[2], last .. ':alone', '1') end
  redis.call('DEL', KEYS[1])
end
return redis.call('HGETALL', KEYS[2])
"""

RECONCILE = (
    LETTER
    + """
-- KEYS stream, counters, dead, dead reasons; ARGV rate or '', time, dead letters kept. Returns how
-- many vanished, and the account. One that was deleted is not reconciled: the worker joins again.
if redis.call('HEXISTS', KEYS[2], 'epoch') == 0 then
  return redis.error_reply('STRAYED the account is gone')
end
local waiting = redis.call('XLEN', KEYS[1])
local counted = redis.call('HMGET', KEYS[2], 'accepted', 'learned', 'buried', 'deleted', 'bytes')
for i = 1, 5 do counted[i] = tonumber(counted[i] or '0') end
local gone = counted[1] - counted[2] - counted[3] - counted[4] - waiting
if ARGV[1] ~= '' then redis.call('HSET', KEYS[2], 'rate', ARGV[1]) end
if gone > 0 then
  put_letter(KEYS[3], KEYS[4], ARGV[3], {'dead-id', '', 'dead-reason', 'vanished',
    'dead-why', gone .. ' entries were deleted by another hand', 'dead-at', ARGV[2]})
  redis.call('HINCRBY', KEYS[2], 'buried', gone)
  redis.call('HINCRBY', KEYS[2], 'vanished', gone)
  redis.call('HSET', KEYS[2], 'bytes', math.floor(counted[5] * waiting / (waiting + gone)))
elseif waiting == 0 and counted[5] ~= 0 then
  redis.call('HSET', KEYS[2], 'bytes', 0)
end
if waiting == 0 then
  -- What another hand deleted is still counted as waiting for its key.
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(name, 1, 8) == 'waiting:' then redis.call('HDEL', KEYS[2], name) end
  end
end
local now = redis.call('HMGET', KEYS[2], 'accepted', 'learned', 'buried', 'deleted')
return {math.max(gone, 0), now, waiting}
"""
)
