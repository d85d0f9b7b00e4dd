"""The WebSocket gateway, `/stream`: live channels and order entry over one connection.

A raw ASGI application. `hub` brings what the relay publishes to whoever subscribed, `connection` is one client, `entry` takes
orders by the very rules of REST. Owns: the sequence a client sees per channel, and what a slow client may cost. Never: what
the messages say; those of the feeds arrive in their final words, snapshots come from `orders.snapshots`.
"""
