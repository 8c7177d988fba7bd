-- Which actions are offered: a connection can be tested and loaded, and everything can be paused or resumed.
local actions = {}
local is_connection = obj.kind == "RocketMQConnection"
local state = obj.spec ~= nil and obj.spec.state or nil
local is_running = state == nil or state == "Running"
if is_connection then
  actions["test"] = { ["disabled"] = not is_running }
  actions["load-models"] = { ["disabled"] = not is_running }
end
actions["pause"] = { ["disabled"] = not is_running }
actions["resume"] = { ["disabled"] = is_running }
return actions
