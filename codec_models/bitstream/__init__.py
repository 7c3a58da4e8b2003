"""Bytes on the wire: 8x8 faces, hints, identity stills and tick packets. No torch, no sockets, no clocks."""
