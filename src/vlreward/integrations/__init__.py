"""A reward where other trainers look for one: thin, one file per trainer, imported only where that trainer is."""
