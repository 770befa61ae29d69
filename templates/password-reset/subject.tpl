Reset your Usual Store password
