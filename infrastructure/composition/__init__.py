"""Who is who: a base container, and one that declares its adapters for each deployment.

| deployment | module |
|---|---|
| one process that serves and runs, over memory or SQLite | `embedded` |
| the same, with its chats in PostgreSQL | `embedded_postgres` |
| a gateway: serves, over Redis and PostgreSQL | `gateway` |
| a worker: runs, over the same | `worker` |

Synchronous, and built without I/O: the processes open and close what needs it.
"""
