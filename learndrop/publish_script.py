"""How a batch gets onto the stream: one script, so that it is there whole, once, or not at all.

And how the answer to any other change is remembered under the key that came with it.
"""

from __future__ import annotations

_REMEMBERING = """
-- What came under a key: when, with which content, and what was answered ('' before the answer).
local function remembered(batches, key)
  local told = redis.call('HGET', batches, key)
  if told then return string.match(told, '^(%d+) (%S+) (.*)$') end
end
-- The oldest beyond the number and those over their time go, a few at a time.
local function remember(batches, order, key, content, told, now, ttl_s, kept)
  redis.call('HSET', batches, key, now .. ' ' .. content .. ' ' .. told)
  redis.call('LPUSH', order, now .. ' ' .. key)
  for _ = 1, 64 do
    local since, oldest = string.match(redis.call('LINDEX', order, -1), '^(%d+) (.*)$')
    local over = redis.call('LLEN', order) > kept
    if not over and now - tonumber(since) < ttl_s then break end
    redis.call('RPOP', order)
    -- Its key may have come again after its time.
    if remembered(batches, oldest) == since then redis.call('HDEL', batches, oldest) end
  end
end
"""

PUBLISH = (
    _REMEMBERING
    + """
-- KEYS stream, counters, batches, order of batches, names, order of names.
-- ARGV most entries, most bytes, share, entries the share is of, who, batch, content, seconds and
-- number that batches are kept, number that names are kept, samples; names as a column (empty if
-- nobody has one); the number of names and values that all samples have alike, and these; then each
-- other field: its name, and its values as a column.
-- A column is two arguments: how many bytes each value has (one number if all have as many), and
-- the values one after the other.
-- Returns what was found and: taken, ids | again, ids | other | full, ... | share, ...
local most, most_bytes, share, room = unpack(ARGV, 1, 4)
local who, batch, content = ARGV[5], ARGV[6], ARGV[7]
local ttl_s, batches_kept, names_kept = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local samples, named = tonumber(ARGV[11]), ARGV[12] ~= ''
local now = tonumber(redis.call('TIME')[1])

-- A key of a wrong type must be met before anything is written: what was, would stay.
if batch ~= '' then redis.call('LLEN', KEYS[4]) end
if named then redis.call('LLEN', KEYS[6]) end

if batch ~= '' then
  local at, before, told = remembered(KEYS[3], batch)
  if at and now - tonumber(at) < ttl_s then
    if before ~= content then return {'other'} end
    return {'again', told}
  end
end

local function column(at)
  local widths, all, values, from = string.gmatch(ARGV[at], '%d+'), ARGV[at + 1], {}, 1
  local width = tonumber(ARGV[at])
  for n = 1, samples do
    local past = from + (width or tonumber(widths()))
    values[n], from = string.sub(all, from, past - 1), past
  end
  return values
end
local names = named and column(12) or {}
local alike = 14 + tonumber(ARGV[14])
local fields, values, images = {}, {}, nil
for at = alike + 1, #ARGV, 3 do
  fields[#fields + 1], values[#values + 1] = ARGV[at], column(at + 1)
  if ARGV[at] == 'image' then images = values[#values] end
end

-- Which are known: under which id, or from which place of this batch.
local known, duplicates, first, fresh, bytes = {}, 0, {}, samples, 0
for n = 1, samples do
  local name = names[n] or ''
  if name ~= '' then
    known[n] = first[name] or redis.call('HGET', KEYS[5], name) or nil
    first[name] = known[n] or n
  end
  if known[n] then
    duplicates, fresh = duplicates + 1, fresh - 1
  else
    bytes = bytes + #images[n]
  end
end

local waiting = redis.call('XLEN', KEYS[1])
local held, rate, mine = unpack(redis.call('HMGET', KEYS[2], 'bytes', 'rate', 'waiting:' .. who))
held, mine, rate = tonumber(held or '0'), tonumber(mine or '0'), rate or ''
if fresh > 0 then
  if waiting + fresh > tonumber(most) or held + bytes > tonumber(most_bytes) then
    return {'full', waiting, held, rate}
  end
  -- At most a multiple of the room that is left: equal for all who send, and never all of it.
  local allowed = share ~= '' and math.floor(tonumber(share) * (tonumber(room) - waiting - fresh))
  if allowed and mine + fresh > allowed then
    return {'share', waiting, mine, rate, math.max(allowed, 0), fresh}
  end
  redis.call('HINCRBY', KEYS[2], 'accepted', fresh)
  redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
  if who ~= '' then redis.call('HINCRBY', KEYS[2], 'waiting:' .. who, fresh) end
end

local command, ids = {'XADD', KEYS[1], '*', unpack(ARGV, 15, alike)}, {}
local filled = #command
for n = 1, samples do
  local id = known[n]
  if type(id) == 'number' then id = ids[id] end
  if not id then
    for field = 1, #fields do
      command[filled + 2 * field - 1], command[filled + 2 * field] = fields[field], values[field][n]
    end
    id = redis.call(unpack(command))
    if named and names[n] ~= '' then
      redis.call('HSET', KEYS[5], names[n], id)
      redis.call('LPUSH', KEYS[6], names[n])
    end
  end
  ids[n] = id
end
for _ = 1, named and redis.call('LLEN', KEYS[6]) - names_kept or 0 do
  redis.call('HDEL', KEYS[5], redis.call('RPOP', KEYS[6]))
end

-- Ids of one millisecond are one run.
local ms, seq = string.match(ids[1], '^(%d+)-(%d+)$')
local told = ids[1] .. '+' .. samples
if duplicates > 0 or ids[samples] ~= ms .. '-' .. (tonumber(seq) + samples - 1) then
  local each = {}
  for n = 1, samples do each[n] = ids[n] .. (known[n] and '*' or '') end
  told = table.concat(each, ' ')
end
if batch ~= '' then
  remember(KEYS[3], KEYS[4], batch, content, told, now, ttl_s, batches_kept)
end
return {'taken', told}
"""
)

RESERVE = (
    _REMEMBERING
    + """
-- KEYS batches, order of batches; ARGV key, content, seconds and number that they are kept, seconds
-- that one may be under way. Whose it is, and what was answered.
local now = tonumber(redis.call('TIME')[1])
local at, before, told = remembered(KEYS[1], ARGV[1])
if at and now - tonumber(at) < tonumber(ARGV[3]) then
  if before ~= ARGV[2] then return {'other'} end
  if told ~= '' then return {'again', told} end
  if now - tonumber(at) < tonumber(ARGV[5]) then return {'running'} end
end
remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2], '', now, tonumber(ARGV[3]), tonumber(ARGV[4]))
return {'yours'}
"""
)

ANSWER = (
    _REMEMBERING
    + """
-- KEYS batches; ARGV key, content, answer or '' for none: then it may come again.
local at, before = remembered(KEYS[1], ARGV[1])
if before ~= ARGV[2] then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], at .. ' ' .. before .. ' ' .. ARGV[3])
return 1
"""
)
