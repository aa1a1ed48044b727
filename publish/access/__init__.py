"""Who may ask what of the HTTP side: the table of routes, tokens and logins, and what stands before every route."""
