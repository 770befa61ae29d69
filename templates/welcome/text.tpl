Hello {{Name}},

good to have you with us. Your account is ready:

{{Link}}

What you can do there:

- see what you ordered and where it is
- keep a list of things for later
- change your address in one place
{{#Coupon}}

A present to begin with: {{Discount}} off your first order with the code

    {{Code}}
{{/Coupon}}
{{>footer-text}}
