-- Another value of this annotation is an order.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["connector.rocketmq.dev/test"] = os.date("!%Y-%m-%dT%XZ")
return obj
