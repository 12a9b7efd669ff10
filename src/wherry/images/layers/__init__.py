"""The layer store: a layer is made usable once and shared by everything that stacks it."""
