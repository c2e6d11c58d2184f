"""A simulated ONVIF Profile G recorder over real sockets."""
