"""Groups, preferences, pictures and videos from files, and rewards back into files. Nothing here imports torch.

Rows are read one at a time, so that memory does not grow with the file. `rows` knows JSON and Parquet, `groups` what a
row of a groups file means, `rankings` what one of preferences does, in a format with a file of its own each (`trl`,
`llamafactory`, `ms_swift`, `rlaif_v`, `llava_critic`, `skywork_preference`, `ranked`); `check` and `convert` work on
any of them, `rewards` are what is written back. `images` and `video` decode what the parts refer to.
"""
