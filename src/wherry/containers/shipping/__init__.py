"""Log drivers that send: syslog, gelf, fluentd, journald.

The container's own log is the buffer: a courier reads it from a saved place and sends line by
line, whatever becomes of the server or of the daemon meanwhile.
"""
