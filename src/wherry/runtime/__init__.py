"""OCI runtime and monitor: bundles, the spec builder (pure), crun/runc and conmon adapters."""
