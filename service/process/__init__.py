"""Processes: one supervisor, which computes nothing, and the workers, which serve.

    supervisor ──spawns──▶ worker 1, worker 2, ...
        │ owns: the listening sockets (`listeners`), the board that all share (`board`)
        └ talks to each worker over a socket pair (`control`)

The supervisor keeps every listening socket open. A worker that is killed therefore leaves its queue of connections to
its successor: nobody who was not being answered yet notices. A worker that loses its supervisor ends itself.

`python -m service` runs the supervisor, also where there is a single worker; `worker` is the module that it spawns.
"""
