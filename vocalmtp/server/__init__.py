"""The web server: application, sockets, sessions and the Gradio page."""
