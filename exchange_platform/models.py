"""No tables of its own; Django sends post_migrate (grants and partitions) only to apps that have this module."""
