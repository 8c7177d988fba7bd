-- Messages flow again.
obj.spec.state = "Running"
return obj
