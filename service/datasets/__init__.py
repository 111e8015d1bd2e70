"""Data sets on disk and in pipes: rows of inputs and of codes, read and written in batches of bounded size.

    kinds                        what a file is, by its first bytes
    rows                         what every source of inputs offers
    npy, table, images, lines    the sources: `.npy`, Parquet, images, JSON lines
    columns                      what a column of a table holds, for bulk jobs too
    npy_header                   what a `.npy` holds, for bulk jobs too
    inputs                       the source for the paths that somebody gave
    code_sources, code_sinks     codes in Parquet, `.npy` and text

Nothing here knows HTTP or the command line, and of a model no more than the layout of its codes.
"""
