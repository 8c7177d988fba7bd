-- No messages flow any more; what can be resumed is kept.
obj.spec.state = "Paused"
return obj
