"""Volumes, bind mounts, tmpfs, mount planning."""
