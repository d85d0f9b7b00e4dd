"""What the pages for staff are made of: lists that never count, pages of facts with tables beside them, operations with a reason.

Owns: the admin site, its look, paging, the form around an operation.
Never: what is shown or done; each room's `admin.py` says that and calls its services.
"""
