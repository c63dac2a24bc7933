"""A reward where other trainers look for one: thin, one file per trainer, imported only where that trainer is.

The files have the names of the trainers' packages: never put this folder itself on ``sys.path``.
"""
