"""Drops the rights of a process: network, other users' files, files outside its folders, and new privileges."""
