"""How the worker takes entries and says which it has in hand, as Lua run undivided."""

from __future__ import annotations

from learndrop.server.script_parts import ASIDE

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
