"""What is ours of the HTTP server: `connection.py` bounds connections and cuts stalled readers,
`cycle.py` writes a response's head, `frame_writer.py` to waiting readers, `uvicorn_server.py` shuts
down.
"""
