"""A Ray cluster that works on shards: bytes go out, bytes come back, this machine writes files."""
