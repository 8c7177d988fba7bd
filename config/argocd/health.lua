-- Health of RocketMQConnection, RocketMQBinding and RocketMQSync by their conditions, for Argo CD.
local health = { status = "Progressing", message = "waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- A status of an earlier generation says nothing about this one.
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "the operator has not looked at this generation yet"
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local function holds(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end
local function fails(name)
  return conditions[name] ~= nil and conditions[name].status == "False"
end
local function told(status, name)
  return { status = status, message = conditions[name].reason .. ": " .. conditions[name].message }
end

if holds("Stalled") then
  return told("Degraded", "Stalled")
end
if fails("Accepted") then
  return told("Degraded", "Accepted")
end
if fails("ResolvedRefs") then
  return told("Degraded", "ResolvedRefs")
end
if holds("Paused") then
  return told("Suspended", "Paused")
end
if holds("Ready") then
  return told("Healthy", "Ready")
end
-- Everything starts like this; anything else that is not ready has a reason that somebody should look at.
local starting = { Progressing = true, WorkersNotReady = true, TestPending = true }
if fails("Ready") and not starting[conditions["Ready"].reason] then
  return told("Degraded", "Ready")
end
if conditions["Ready"] ~= nil then
  return told("Progressing", "Ready")
end
return health
