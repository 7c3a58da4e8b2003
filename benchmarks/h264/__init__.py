"""A video call as aiortc makes it, H.264 and Opus, with times written down: what our own call is compared with."""
