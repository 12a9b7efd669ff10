"""Trees of files as tar archives, for the engine and the command line alike."""
