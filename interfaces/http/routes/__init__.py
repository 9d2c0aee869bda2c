"""The endpoints: each parses, asks a use case, and hands over what it said."""
