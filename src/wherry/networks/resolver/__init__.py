"""The name resolver: a light process beside the daemon. Imports nothing of the daemon."""
