"""What is done with dead letters, as Lua that Redis runs undivided: list, read, replay, forget.

A replayed letter leaves `buried` and lies in the stream again in the same script, so that the
account adds up at every moment; it stays accepted once.
"""

from __future__ import annotations

from learndrop.server.script_parts import FORGET

OWN_FIELDS = 8
"""Names and values that the burial put before those of the entry."""
OWN_NAMES = (b"dead-id", b"dead-reason", b"dead-why", b"dead-at")

HEADS = (
    FORGET
    + """
-- KEYS dead; ARGV XRANGE or XREVRANGE, from, to, reason or '', most found, most looked at.
-- Letters without their pixels, and the id of the last one looked at ('' at the end). Of one that
-- another hand wrote nothing but its id is told: an answer of Redis ends at its first nil.
local found, looked, from = {}, 0, ARGV[2]
while true do
  local some = redis.call(ARGV[1], KEYS[1], from, ARGV[3], 'COUNT', 16)
  for _, letter in ipairs(some) do
    local id, fields = letter[1], letter[2]
    looked, from = looked + 1, '(' .. id
    local reason = reason_of(fields)
    if reason == '' then fields = {'', '', '', '', '', '', '', ''} end
    if ARGV[4] == '' or reason == ARGV[4] then
      local told, size = {id, fields[2], reason, fields[6], fields[8], '', ''}, 0
      for i = 9, #fields, 2 do
        if fields[i] == 'label' then told[6] = string.sub(fields[i + 1], 1, 400) end
        if fields[i] == 'shape' then told[7] = string.sub(fields[i + 1], 1, 40) end
        if fields[i] == 'image' then size = #fields[i + 1] end
      end
      told[8], told[9] = size, #fields > 8 and fields[2] ~= '' and 1 or 0
      found[#found + 1] = told
    end
    if #found == tonumber(ARGV[5]) or looked == tonumber(ARGV[6]) then
      local more = redis.call(ARGV[1], KEYS[1], from, ARGV[3], 'COUNT', 1)
      return {found, #more > 0 and id or ''}
    end
  end
  if #some < 16 then return {found, ''} end
end
"""
)

NUMBERS = (
    FORGET
    + """
-- KEYS dead, dead reasons. How many are kept for each reason; counted anew when another hand (or a
-- learndrop that did not count) changed the stream.
local told, sum = redis.call('HGETALL', KEYS[2]), 0
for i = 2, #told, 2 do sum = sum + tonumber(told[i]) end
if sum == redis.call('XLEN', KEYS[1]) then return told end
redis.call('DEL', KEYS[2])
local from = '-'
while true do
  local some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 16)
  for _, letter in ipairs(some) do
    redis.call('HINCRBY', KEYS[2], reason_of(letter[2]), 1)
    from = '(' .. letter[1]
  end
  if #some < 16 then return redis.call('HGETALL', KEYS[2]) end
end
"""
)

READ = "return redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])"
"""KEYS dead; ARGV id. One letter with its fields in the order in which they were written."""

REPLAY = (
    FORGET
    + """
-- KEYS stream, counters, foreign, dead, dead reasons, moved; ARGV most entries, most bytes, moves
-- kept, then ids. Returns old and new ids in turn, and, where the stream is full, how full it is
-- and the rate.
local moved = {}
for n = 4, #ARGV do
  local found = redis.call('XRANGE', KEYS[4], ARGV[n], ARGV[n])
  if #found == 1 and reason_of(found[1][2]) ~= '' and found[1][2][2] ~= '' and #found[1][2] > 8 then
    local fields, size, ours, who = {}, 0, false, nil
    for i = 9, #found[1][2], 2 do
      local name, value = found[1][2][i], found[1][2][i + 1]
      fields[#fields + 1], fields[#fields + 2] = name, value
      if name == 'image' then size = #value end
      if name == 'by' and value == 'learndrop' then ours = true end
      if name == 'key' then who = value end
    end
    local waiting = redis.call('XLEN', KEYS[1])
    local held = tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
    if waiting + 1 > tonumber(ARGV[1]) or held + size > tonumber(ARGV[2]) then
      return {moved, waiting, held, redis.call('HGET', KEYS[2], 'rate') or ''}
    end
    local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
    redis.call('HINCRBY', KEYS[2], 'buried', -1)
    redis.call('HINCRBY', KEYS[2], 'bytes', size)
    if ours and who then redis.call('HINCRBY', KEYS[2], 'waiting:' .. who, 1) end
    -- Written by hand, and counted as accepted when it was buried: not a second time.
    if not ours then redis.call('SADD', KEYS[3], id) end
    forget(KEYS[4], KEYS[5], found)
    local old = found[1][2][2]
    redis.call('ZADD', KEYS[6], string.match(old, '^%d+'), old .. ' ' .. id)
    moved[#moved + 1], moved[#moved + 2] = ARGV[n], id
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -1 - tonumber(ARGV[3]))
return {moved}
"""
)

PURGE = (
    FORGET
    + """
-- KEYS dead, dead reasons; ARGV ids. The samples stay counted as buried. Returns how many went.
local gone = 0
for n = 1, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[n], ARGV[n])
  forget(KEYS[1], KEYS[2], found)
  gone = gone + #found
end
return gone
"""
)
