"""OCI runtime and monitor: bundles, the spec builder (pure), crun/runc under conmon, attach, exec.

Others use: the port and its values (``runtime.port``), the adapters (``runtime.probe.open_runtime``
for the real one, ``runtime.memory`` for tests), ``runtime.spec``, ``runtime.limits``,
``runtime.users``, ``runtime.failures`` and ``runtime.logfile``.
"""
