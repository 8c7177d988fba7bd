-- Another value of this annotation is an order.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["connector.rocketmq.dev/load-models"] = os.date("!%Y-%m-%dT%XZ")
return obj
