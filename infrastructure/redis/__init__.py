"""The one Redis that the processes of a distributed service share."""
