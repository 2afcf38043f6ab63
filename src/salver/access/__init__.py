"""Who may do what, and how much of it: keys, tokens, certificates, roles, limits."""
