Welcome to Usual Store, {{Name}}!
