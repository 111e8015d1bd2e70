"""What can be seen of a running service: metrics, the access log, what its codes look like, traces.

Numbers live in memory that all workers share (`arena`), so whichever worker is asked answers for all, and what a worker
counted stays when it dies. Counting costs a fraction of a microsecond and takes no lock; whoever reads adds up.
"""
