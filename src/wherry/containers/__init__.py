"""The container life cycle and everything a running container can be asked."""
