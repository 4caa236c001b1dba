"""What gets built: the torch modules of one concrete architecture, and what they cost."""
