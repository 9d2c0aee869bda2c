"""The one PostgreSQL database that the processes of a distributed service share."""
