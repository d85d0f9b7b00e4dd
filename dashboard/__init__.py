"""Pages: what people see of the exchange in a browser, live, and the operator's controls.

Owns: pages, their scripts and styles, and the few addresses that only these pages call (an operator's controls).
Never: a rule about orders or money. Pages read the public contract like anybody's program; controls call one service.
"""
