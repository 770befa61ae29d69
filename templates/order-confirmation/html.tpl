<!doctype html>
<html lang="en">
<head>
  <title>Your order {{OrderNumber}}</title>
{{>head}}
</head>
<body style="margin:0;padding:0;background:#f3f4f7;">
<div style="display:none;max-height:0;overflow:hidden;">We have your order: {{Total}} in all. We write again when it is on its way.</div>
{{>header}}
  <h1 style="margin:0 0 8px 0;font-size:24px;line-height:1.3;">Thank you for your order, {{Name}}!</h1>
  <p class="soft" style="margin:0 0 24px 0;color:#5c6473;font-size:14px;">Order {{OrderNumber}} of {{OrderDate}}. We write again when it is on its way.</p>
  <table class="ink" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%;margin:0 0 24px 0;border-collapse:collapse;color:#1c2230;font-size:15px;line-height:1.5;">
    <tr>
      <th class="line" scope="col" align="left" style="padding:0 0 8px 0;border-bottom:2px solid #e1e4ea;">Article</th>
      <th class="line" scope="col" align="right" style="padding:0 0 8px 12px;border-bottom:2px solid #e1e4ea;">Price</th>
    </tr>
    {{#Items}}
    <tr>
      <td class="line" valign="top" style="padding:12px 0;border-bottom:1px solid #e1e4ea;">{{Quantity}} &times; {{Title}}{{#Variant}}<br><span class="soft" style="color:#5c6473;font-size:13px;">{{Variant}}</span>{{/Variant}}</td>
      <td class="line" valign="top" align="right" style="padding:12px 0 12px 12px;border-bottom:1px solid #e1e4ea;white-space:nowrap;">{{Price}}</td>
    </tr>
    {{/Items}}
    <tr>
      <td style="padding:14px 0 2px 0;">Subtotal</td>
      <td align="right" style="padding:14px 0 2px 12px;white-space:nowrap;">{{Subtotal}}</td>
    </tr>
    {{#Discount}}
    <tr>
      <td style="padding:2px 0;">Discount</td>
      <td align="right" style="padding:2px 0 2px 12px;white-space:nowrap;">&minus;{{Discount}}</td>
    </tr>
    {{/Discount}}
    <tr>
      <td style="padding:2px 0;">Shipping</td>
      <td align="right" style="padding:2px 0 2px 12px;white-space:nowrap;">{{Shipping}}</td>
    </tr>
    <tr>
      <td style="padding:8px 0 0 0;font-size:18px;font-weight:bold;">Total</td>
      <td align="right" style="padding:8px 0 0 12px;font-size:18px;font-weight:bold;white-space:nowrap;">{{Total}}</td>
    </tr>
  </table>
  {{#Address}}
  <p style="margin:0 0 24px 0;"><strong>We send it to</strong><br>
    {{#Lines}}
    {{ITEM}}{{#Lines_separator}}<br>{{/Lines_separator}}
    {{/Lines}}
  </p>
  {{/Address}}
  <table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 24px 0;"><tr>
    <td bgcolor="#0b57d0" style="border-radius:8px;background:#0b57d0;"><a class="button" href="{{Link}}" style="display:inline-block;padding:14px 26px;border-radius:8px;color:#ffffff;font-weight:bold;text-decoration:none;">See your order</a></td>
  </tr></table>
  <p class="soft" style="margin:0;color:#5c6473;font-size:14px;">Does the button not work? Copy this link into your browser:<br>
    <a href="{{Link}}" style="word-break:break-all;">{{Link}}</a></p>
{{>footer}}
</body>
</html>
