"""The one database file of an embedded service."""
