"""Content, layers, references; load, save, import, commit, history, prune."""
