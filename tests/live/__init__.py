"""The service as its users meet it: a process of its own, behind sockets."""
