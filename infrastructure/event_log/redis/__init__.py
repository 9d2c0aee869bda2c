"""The log in Redis: `publisher.py` and `attempt.py` write it, `follower.py` reads it."""
