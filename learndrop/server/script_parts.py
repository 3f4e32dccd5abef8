"""What scripts begin with: functions in Lua, and what is asked before anything is done.

All scripts keep to commands and options that every server since Redis 6.2 has, so also every
Valkey; settle_scripts.py says what they keep true.
"""

from __future__ import annotations

ALWAYS = """
-- At the limit of its memory the server refuses a script's first write if that could take more, and
-- none of those after another write: it stops no script in the middle. This one only ever removes,
-- and what is not there. What a worker writes is bounded, and some of it is what frees memory.
redis.call('HDEL', KEYS[#KEYS], '')
"""

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

IDS = """
-- Whether one id comes before another; as text, since they may be larger than Lua counts exactly.
local function before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  local x, y = a_ms, b_ms
  if x == y then x, y = a_seq, b_seq end
  if #x ~= #y then return #x < #y end
  return x < y
end
"""

ASIDE = """
-- The fate that an entry met out of turn, or nil.
local function fate_aside(aside, id)
  local ms = string.match(id, '^%d+')
  for _, told in ipairs(redis.call('ZRANGEBYSCORE', aside, ms, ms)) do
    local at, fate = string.match(told, '^(%S+) (.*)$')
    if at == id then return fate end
  end
end
local function set_aside(aside, id, fate)
  redis.call('ZADD', aside, string.match(id, '^%d+'), id .. ' ' .. fate)
  -- Without a worker nothing leaves it: the lowest ids beyond a bound are forgotten, a few at once.
  local over = redis.call('ZCARD', aside) - 100000
  if over > 0 then redis.call('ZPOPMIN', aside, math.min(over, 16)) end
end
"""

SETTLE = """
-- KEYS stream, counters, foreign, suspects. Takes entries off the stream and counts them.
local function settle(group, entries, as)
  if #entries == 0 then return end
  local ids, bytes, unseen, of_key = {}, 0, 0, {}
  for n, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local size, ours, who = 0, false, nil
    for i = 1, #fields, 2 do
      if fields[i] == 'image' then size = #fields[i + 1] end
      if fields[i] == 'by' and fields[i + 1] == 'learndrop' then ours = true end
      if fields[i] == 'key' then who = fields[i + 1] end
    end
    if ours and who then of_key[who] = (of_key[who] or 0) + 1 end
    if not ours and redis.call('SREM', KEYS[3], id) == 0 then
      unseen, size = unseen + 1, 0
    end
    ids[n], bytes = id, bytes + size
    redis.call('HDEL', KEYS[4], id, id .. ':alone')
  end
  if unseen > 0 then redis.call('HINCRBY', KEYS[2], 'accepted', unseen) end
  redis.call('HINCRBY', KEYS[2], as, #ids)
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
  for who, number in pairs(of_key) do
    if redis.call('HINCRBY', KEYS[2], 'waiting:' .. who, -number) <= 0 then
      redis.call('HDEL', KEYS[2], 'waiting:' .. who)
    end
  end
  redis.pcall('XACK', KEYS[1], group, unpack(ids))
  redis.call('XDEL', KEYS[1], unpack(ids))
end
"""

FORGET = """
-- The reason of a dead letter that a burial wrote; '' of one that another hand wrote.
local function reason_of(fields)
  local ours = fields[1] == 'dead-id' and fields[3] == 'dead-reason' and fields[5] == 'dead-why'
    and fields[7] == 'dead-at' and (fields[2] == '' or string.match(fields[2], '^%d+-%d+$'))
  return ours and fields[4] or ''
end
-- Takes dead letters away; the number of each reason goes along.
local function forget(dead, reasons, letters)
  for _, letter in ipairs(letters) do
    local id, reason = letter[1], reason_of(letter[2])
    if redis.call('XDEL', dead, id) == 1 and redis.call('HINCRBY', reasons, reason, -1) <= 0 then
      redis.call('HDEL', reasons, reason)
    end
  end
end
"""
"""Functions for scripts. A dead letter's own fields come first: dead-id, -reason, -why, -at."""

LETTER = (
    FORGET
    + """
-- Puts a dead letter aside; the oldest beyond the bound go, a few at a time.
local function put_letter(dead, reasons, kept, fields)
  redis.call('XADD', dead, '*', unpack(fields))
  redis.call('HINCRBY', reasons, fields[4], 1)
  local excess = math.min(redis.call('XLEN', dead) - tonumber(kept), 16)
  if excess > 0 then
    forget(dead, reasons, redis.call('XRANGE', dead, '-', '+', 'COUNT', excess))
  end
end
"""
)

VANISHED = (
    LETTER
    + """
-- Counts what is gone without having been learned, and says so in a dead letter.
local function count_vanished(counters, dead, reasons, kept, gone, why, at)
  put_letter(dead, reasons, kept, {'dead-id', '', 'dead-reason', 'vanished',
    'dead-why', gone .. ' entries ' .. why, 'dead-at', at})
  redis.call('HINCRBY', counters, 'buried', gone)
  redis.call('HINCRBY', counters, 'vanished', gone)
end
"""
)
