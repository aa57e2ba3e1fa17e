"""Who connects to the database as whom: group roles, the embedded server's logins, and what each is held to."""
