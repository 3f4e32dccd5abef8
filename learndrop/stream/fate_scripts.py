"""What became of a sample, and which version had it first, as Lua run undivided."""

from __future__ import annotations

from learndrop.server.script_parts import ASIDE

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
