"""What is ours of the HTTP server: `connection.py` bounds connections and cuts stalled readers,
`frame_writer.py` writes to waiting readers, `uvicorn_server.py` shuts down.
"""
