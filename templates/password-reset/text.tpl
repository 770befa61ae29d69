Reset your password

Somebody, hopefully you, asked for a new password for your Usual Store
account. Open this link to choose one:

{{Link}}

It works once. If it was not you, ignore this mail: your password stays
as it is.
{{>footer-text}}
