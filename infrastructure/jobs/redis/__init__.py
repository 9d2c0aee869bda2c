"""The queue in Redis, shared by gateways and workers. `scheduler.lua` decides all of it."""
