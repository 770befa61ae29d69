Thank you for your order, {{Name}}!

Order {{OrderNumber}} of {{OrderDate}}

{{#Items}}
{{Quantity}} x {{Title}}{{#Variant}} ({{Variant}}){{/Variant}}: {{Price}}
{{/Items}}

Subtotal: {{Subtotal}}
{{#Discount}}
Discount: -{{Discount}}
{{/Discount}}
Shipping: {{Shipping}}
Total:    {{Total}}

{{#Address}}
We send it to:

{{#Lines}}
{{ITEM}}
{{/Lines}}

{{/Address}}
See how it is going:
{{Link}}
{{>footer-text}}
