"""`latent-codes`: train, serve, encode, decode and the rest, from a shell.

    program      the table of commands, and what becomes of errors
    exit_codes   the one table from error to exit status
    options      options that several commands share
    backends     who encodes: ONNX Runtime here (`local`) or a running service (`remote`)
    progress     what is told on standard error

Every other module is one command, imported when it is asked for: `latent-codes --help` loads none of them.
"""
