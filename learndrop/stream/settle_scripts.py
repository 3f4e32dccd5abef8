"""How entries leave the stream, as Lua run undivided.

The account `accepted = learned + buried + deleted + pending` rests on one rule: an entry leaves the
stream in the script that counts it. What then is missing was taken by another hand, and is exactly
countable.

An entry's fate is written in that script too. Entries are learned in the order of their ids, so
`fates` is a stream under these same ids; what is buried or deleted out of turn is set aside in a
sorted set until the learned ones have come so far.
"""

from __future__ import annotations

from learndrop.server.script_parts import ASIDE, IDS, LETTER, SETTLE, VANISHED

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

RECONCILE = (
    VANISHED
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
  local why = 'were deleted by another hand'
  count_vanished(KEYS[2], KEYS[3], KEYS[4], ARGV[3], gone, why, ARGV[2])
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
