"""The port forwarder: one process that serves ports which the kernel cannot translate."""
