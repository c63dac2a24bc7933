"""Groups, pictures and videos from files, and rewards back into files. Nothing here imports torch.

Rows are read one at a time, so that memory does not grow with the file. `rows` knows JSON lines and Parquet, `groups`
and `trl` what a row means, `rewards` what is written back; `images` and `video` decode what the parts refer to.
"""
