"""What is done with stored predictions and the labels that come for them, as Lua run undivided.

An answer lies in a stream under its id: `answer` (JSON), `said` (its label), `version`, `margin`,
`asked-by` (the key that asked, if one did), and, where pixels are kept, the fields of a sample
without its label. A label that came later is in a hash beside it, as `sample id` and `label`, the
key that it came from in another; both go with it.
"""

from __future__ import annotations

from learndrop.server.script_parts import ASIDE, FORGET, IDS, SETTLE

DROP = """
-- KEYS answers, bytes, given, given samples, given by. Takes answers away with their labels; the
-- bytes held go along.
local function drop_answers(entries)
  local answers, bytes, given, given_samples, given_by = unpack(KEYS, 1, 5)
  for _, entry in ipairs(entries) do
    local size = 0
    for i = 2, #entry[2], 2 do size = size + #entry[2][i] end
    if redis.call('XDEL', answers, entry[1]) == 1 then redis.call('DECRBY', bytes, size) end
    local label = redis.call('HGET', given, entry[1])
    if label then
      redis.call('HDEL', given, entry[1])
      redis.call('HDEL', given_by, entry[1])
      redis.call('HDEL', given_samples, string.match(label, '^%S+'))
    end
  end
end
"""

PUT = (
    DROP
    + """
-- ARGV most answers, most bytes, last id that is too old, answers, then for each the number of its
-- fields and values, and these. Gives the ids, and how many old ones went. Where the answers were
-- taken away by another hand (their stream is there also when it is empty), what lies beside them
-- goes too, or its bytes would be counted for ever.
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', unpack(KEYS, 2, 5)) end
local ids, at, gone = {}, 5, 0
for answer = 1, tonumber(ARGV[4]) do
  local parts, size = tonumber(ARGV[at]), 0
  for i = at + 2, at + parts, 2 do size = size + #ARGV[i] end
  ids[answer] = redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + parts))
  redis.call('INCRBY', KEYS[2], size)
  at = at + parts + 1
end
local function drop(some)
  drop_answers(some)
  gone = gone + #some
end
-- A bound that was lowered is reached in some calls, so that none takes long.
for _ = 1, 16 + #ids do
  local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
  local old = redis.call('XRANGE', KEYS[1], '-', ARGV[3], 'COUNT', 8)
  if #old > 0 then
    drop(old)
  elseif excess > 0 then
    drop(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(excess, 8)))
  elseif tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then
    drop(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1))
  else
    break
  end
end
return {ids, gone}
"""
)

ROWS = """
-- KEYS answers, given; ARGV XRANGE or XREVRANGE, from, to, most. Answers without their pixels: id,
-- answer, margin, whether there are pixels, the label that was given ('' if none), who asked.
local rows, from = {}, ARGV[2]
while #rows < tonumber(ARGV[4]) do
  local most = math.min(16, tonumber(ARGV[4]) - #rows)
  local some = redis.call(ARGV[1], KEYS[1], from, ARGV[3], 'COUNT', most)
  for _, entry in ipairs(some) do
    local row = {entry[1], '', '', 0, redis.call('HGET', KEYS[2], entry[1]) or '', ''}
    for i = 1, #entry[2], 2 do
      local name, value = entry[2][i], entry[2][i + 1]
      if name == 'answer' then row[2] = value end
      if name == 'margin' then row[3] = value end
      if name == 'image' then row[4] = 1 end
      if name == 'asked-by' then row[6] = value end
    end
    rows[#rows + 1], from = row, '(' .. entry[1]
  end
  if #some < most then break end
end
return rows
"""

DELETE = (
    DROP
    + """
-- ARGV id. Returns 1 and the sample made of it, if any.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return {0, ''} end
local label = redis.call('HGET', KEYS[3], ARGV[1]) or ''
drop_answers(found)
return {1, string.match(label, '^%S+') or ''}
"""
)

SAMPLE_BEFORE = """
-- Every id that a sample had: one more for each time that it was buried and put back.
local function names_of(moved, id)
  local names = {id}
  for n = 1, 100 do
    names[n + 1] = fate_aside(moved, names[n])
    if not names[n + 1] then break end
  end
  return names
end
-- Its dead letter, if it lies there; looked for only where it was buried, or nobody knows.
local function letter_of(aside, fates, dead, id)
  local ended = redis.call('XRANGE', fates, id, id)
  local fate = fate_aside(aside, id) or (ended[1] and ended[1][2][2]) or 'buried'
  if string.sub(fate, 1, 6) ~= 'buried' then return {} end
  local from = '-'
  while true do
    local some = redis.call('XRANGE', dead, from, '+', 'COUNT', 16)
    for _, letter in ipairs(some) do
      if letter[2][2] == id then return {letter} end
      from = '(' .. letter[1]
    end
    if #some < 16 then return {} end
  end
end
"""

GIVE = (
    IDS
    + ASIDE
    + SETTLE
    + FORGET
    + SAMPLE_BEFORE
    + """
-- KEYS stream, counters, foreign, suspects, aside, answers, given, given samples, scores, totals,
-- deletions, given by, moved, dead, dead reasons, fates; ARGV group, answer's id, label, 1 to
-- correct, time, key, most entries, most bytes, oldest id, versions scored, 1 if other keys' labels
-- may be corrected, share or ''. Returns what came of it, the sample's id, and more about it.
local id, label, correct = ARGV[2], ARGV[3], ARGV[4] == '1'
local found = redis.call('XRANGE', KEYS[6], id, id)
if #found == 0 or before(id, ARGV[9]) then
  local first = redis.call('XRANGE', KEYS[6], '-', '+', 'COUNT', 1)
  local info, last = redis.pcall('XINFO', 'STREAM', KEYS[6]), '0-0'
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  -- Ids only grow: one before the oldest that is kept was given once, or could have been.
  local oldest = first[1] and first[1][1] or last
  if before(id, ARGV[9]) or before(id, oldest) or (not first[1] and id == last) then
    return {'expired'}
  end
  return {'unknown'}
end
local told, sample, earlier = redis.call('HGET', KEYS[7], id), '-', nil
if told then
  sample, earlier = string.match(told, '^(%S+) (.*)$')
  if earlier == label then return {'repeated', sample} end
  if not correct then return {'contradicted', sample, earlier} end
  -- A label that came without a key, or before keys were written down, is anybody's.
  local owner = redis.call('HGET', KEYS[12], id) or ''
  if owner ~= '' and owner ~= ARGV[6] and ARGV[11] ~= '1' then return {'foreign'} end
end

local said, version, fields, size = '', '0', {}, 0
for i = 1, #found[1][2], 2 do
  local name, value = found[1][2][i], found[1][2][i + 1]
  if name == 'said' then said = value
  elseif name == 'version' then version = value
  elseif name ~= 'answer' and name ~= 'margin' and name ~= 'asked-by' then
    fields[#fields + 1], fields[#fields + 2] = name, value
    if name == 'image' then size = #value end
  end
end
-- The sample before makes room, if it waits; else it may be a dead letter.
local names = sample ~= '-' and names_of(KEYS[13], sample) or {}
local now, waits, letters, freed = names[#names], {}, {}, 0
if now then waits = redis.call('XRANGE', KEYS[1], now, now) end
if now and #waits == 0 then letters = letter_of(KEYS[5], KEYS[16], KEYS[14], now) end
for i = 1, #waits > 0 and #waits[1][2] or 0, 2 do
  if waits[1][2][i] == 'key' and waits[1][2][i + 1] == ARGV[6] then freed = 1 end
end
local outcome, new = 'scored', '-'
if size > 0 then
  local waiting = redis.call('XLEN', KEYS[1]) - #waits
  local held, rate = unpack(redis.call('HMGET', KEYS[2], 'bytes', 'rate'))
  held, rate = tonumber(held or '0') - #waits * size, rate or ''
  if waiting + 1 > tonumber(ARGV[7]) or held + size > tonumber(ARGV[8]) then
    return {'full', waiting, held, rate}
  end
  if ARGV[12] ~= '' then
    -- As in PUBLISH: a multiple of the room that is left.
    local room = math.min(tonumber(ARGV[7]), math.floor(tonumber(ARGV[8]) / size))
    local allowed = math.floor(tonumber(ARGV[12]) * (room - waiting - 1))
    local mine = tonumber(redis.call('HGET', KEYS[2], 'waiting:' .. ARGV[6]) or '0') - freed
    if mine + 1 > allowed then return {'share', waiting, mine, rate, math.max(allowed, 0)} end
  end
  for _, more in ipairs({'label', label, 'at', ARGV[5], 'by', 'learndrop', 'prediction', id}) do
    fields[#fields + 1] = more
  end
  if ARGV[6] ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'key', ARGV[6]
    redis.call('HINCRBY', KEYS[2], 'waiting:' .. ARGV[6], 1)
  end
  new = redis.call('XADD', KEYS[1], '*', unpack(fields))
  redis.call('HINCRBY', KEYS[2], 'accepted', 1)
  redis.call('HINCRBY', KEYS[2], 'bytes', size)
  outcome = 'accepted'
end
if earlier then
  outcome = 'corrected'
  if #waits == 1 then
    settle(ARGV[1], waits, 'deleted')
    set_aside(KEYS[5], now, 'deleted')
  end
  forget(KEYS[14], KEYS[15], letters)
  -- The worker must not replay it with the label that was wrong.
  for _, name in ipairs(names) do
    redis.call('XADD', KEYS[11], '*', 'sample', name, 'at', ARGV[5])
  end
  redis.call('HDEL', KEYS[8], sample)
end
redis.call('HSET', KEYS[7], id, new .. ' ' .. label)
if new ~= '-' then redis.call('HSET', KEYS[8], new, id) end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[12], id, ARGV[6])
else
  redis.call('HDEL', KEYS[12], id)
end

-- The answer given then is scored; a correction takes the score of the label before back.
local labelled = earlier and 0 or 1
local right = (label == said and 1 or 0) - (earlier == said and 1 or 0)
-- From a version that is scored no more (an old one, or scores are lost) nothing is taken back.
local scored = redis.call('HGET', KEYS[9], version) or (not earlier and '0 0')
if scored then
  local of_right, of_all = string.match(scored, '^(%-?%d+) (%d+)$')
  redis.call('HSET', KEYS[9], version, (of_right + right) .. ' ' .. (of_all + labelled))
end
redis.call('HINCRBY', KEYS[10], 'right', right)
redis.call('HINCRBY', KEYS[10], 'labelled', labelled)
local excess = redis.call('HLEN', KEYS[9]) - tonumber(ARGV[10])
if excess > 0 then
  local versions = redis.call('HKEYS', KEYS[9])
  table.sort(versions, function(a, b) return tonumber(a) < tonumber(b) end)
  redis.call('HDEL', KEYS[9], unpack(versions, 1, excess))
end
return {outcome, new, earlier and sample or '', said, version}
"""
)
