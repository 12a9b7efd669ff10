"""The helper process: everything that reads foreign archives or writes many files.

``python -m wherry.images.worker VERB FILE`` does one job and ends, so that an idle daemon
holds no memory for it. It imports neither the engine nor the database: a job reads a stream from
standard input, works in the one folder it is given, and answers JSON lines on standard output.
"""
