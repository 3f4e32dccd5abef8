"""How a batch gets onto the stream: one script, so that it is there whole, once, or not at all.

And how the answer to any other change is remembered under the key that came with it.
"""

from __future__ import annotations

_REMEMBERING = """
-- What is known lies in a hash, and its order, the newest first, in a list for each sender: `order`
-- for those without a key, `order:KEY` for a key. `held` tells how long each list is. So nobody can
-- make room at the cost of a sender that has less.
local function list_of(order, whose)
  local list = order .. whose
  local found = redis.call('TYPE', list)['ok']
  -- Only for keys: what every model has is mended by whoever meets the error.
  if whose ~= '' and found ~= 'list' and found ~= 'none' then
    redis.call('RENAME', list, list .. ':set-aside')
  end
  return list
end
local function measure(order, held, whose)
  local length = redis.call('LLEN', list_of(order, whose))
  if length > 0 then
    redis.call('ZADD', held, length, whose)
  else
    redis.call('ZREM', held, whose)
  end
end
-- What lay there before lists were measured has to be known, or others would pay for it.
local function first_look(order, held)
  if not redis.call('ZSCORE', held, '') then measure(order, held, '') end
end
-- The oldest of whoever has most go, a few at a time, until no more than `kept` are known.
local function make_room(known, order, held, kept, forget)
  for _ = 1, 64 do
    local excess = redis.call('HLEN', known) - kept
    if excess <= 0 then return end
    local most = redis.call('ZREVRANGE', held, 0, 1, 'WITHSCORES')
    if #most == 0 then return end
    local ahead = tonumber(most[2]) - tonumber(most[4] or '0')
    local few = math.max(1, math.min(excess, ahead, 256))
    for _, one in ipairs(redis.call('RPOP', list_of(order, most[1]), few) or {}) do forget(one) end
    measure(order, held, most[1])
  end
end
local function suffix(who) return who == '' and '' or ':' .. who end

-- What came under a key: when, with which content, and what was answered ('' before the answer).
local function remembered(batches, key)
  local told = redis.call('HGET', batches, key)
  if told then return string.match(told, '^(%d+) (%S+) (.*)$') end
end
local function remember(batches, order, held, who, key, content, told, now, ttl_s, kept)
  local function forget(one)
    local since, name = string.match(one, '^(%d+) (.*)$')
    -- Its key may have come again after its time.
    if remembered(batches, name) == since then redis.call('HDEL', batches, name) end
  end
  -- Those over their time go, a few at a time; of senders that are silent too, in turn.
  local function expire(whose)
    local list = list_of(order, whose)
    for _ = 1, 32 do
      local oldest = redis.call('LINDEX', list, -1)
      if not oldest or now - tonumber(string.match(oldest, '^%d+')) < ttl_s then break end
      forget(redis.call('RPOP', list))
    end
    measure(order, held, whose)
  end
  first_look(order, held)
  redis.call('HSET', batches, key, now .. ' ' .. content .. ' ' .. told)
  redis.call('LPUSH', list_of(order, suffix(who)), now .. ' ' .. key)
  expire(suffix(who))
  local senders = redis.call('ZCARD', held)
  local turn = redis.call('TIME')[2] % senders
  local other = redis.call('ZRANGE', held, turn, turn)[1]
  if other ~= suffix(who) then expire(other) end
  make_room(batches, order, held, kept, forget)
end
"""

PUBLISH = (
    _REMEMBERING
    + """
-- KEYS stream, counters, batches, order of batches, names, order of names, and how many of either
-- each sender has.
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
if batch ~= '' then redis.call('LLEN', KEYS[4]) first_look(KEYS[4], KEYS[7]) end
if named then redis.call('LLEN', KEYS[6]) first_look(KEYS[6], KEYS[8]) end

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

local own_names = named and list_of(KEYS[6], suffix(who))
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
      redis.call('LPUSH', own_names, names[n])
    end
  end
  ids[n] = id
end
if named then
  measure(KEYS[6], KEYS[8], suffix(who))
  make_room(KEYS[5], KEYS[6], KEYS[8], names_kept, function(name)
    redis.call('HDEL', KEYS[5], name)
  end)
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
  remember(KEYS[3], KEYS[4], KEYS[7], who, batch, content, told, now, ttl_s, batches_kept)
end
return {'taken', told}
"""
)

RESERVE = (
    _REMEMBERING
    + """
-- KEYS batches, order of batches, how many each sender has; ARGV key, content, seconds and number
-- that they are kept, seconds that one may be under way, who. Whose it is, and what was answered.
local now = tonumber(redis.call('TIME')[1])
local at, before, told = remembered(KEYS[1], ARGV[1])
if at and now - tonumber(at) < tonumber(ARGV[3]) then
  if before ~= ARGV[2] then return {'other'} end
  if told ~= '' then return {'again', told} end
  if now - tonumber(at) < tonumber(ARGV[5]) then return {'running'} end
end
local ttl_s, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
remember(KEYS[1], KEYS[2], KEYS[3], ARGV[6], ARGV[1], ARGV[2], '', now, ttl_s, kept)
return {'yours'}
"""
)

ANSWER = (
    _REMEMBERING
    + """
-- KEYS as above; ARGV key, content, answer or '' for none: then it may come again; who.
local at, before = remembered(KEYS[1], ARGV[1])
if before ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('LREM', list_of(KEYS[2], suffix(ARGV[4])), 1, at .. ' ' .. ARGV[1])
  measure(KEYS[2], KEYS[3], suffix(ARGV[4]))
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], at .. ' ' .. before .. ' ' .. ARGV[3])
return 1
"""
)

WINDOW = """
-- KEYS batches, order of batches, how many each sender has. How many are known, and how many
-- seconds old the oldest is of the sender that has most: these go first.
local most = redis.call('ZREVRANGE', KEYS[3], 0, 0)[1] or ''
local oldest = redis.call('LINDEX', KEYS[2] .. most, -1)
local now = tonumber(redis.call('TIME')[1])
local since = oldest and tonumber(string.match(oldest, '^%d+')) or now
return {redis.call('HLEN', KEYS[1]), now - since}
"""
