"""Who may do what: API keys, scopes, and the devices a key may send for."""
