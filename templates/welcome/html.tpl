<!doctype html>
<html lang="en">
<head>
  <title>Welcome to Usual Store</title>
{{>head}}
</head>
<body style="margin:0;padding:0;background:#f3f4f7;">
<div style="display:none;max-height:0;overflow:hidden;">Your account is ready. Here is what you can do with it.</div>
{{>header}}
  <h1 style="margin:0 0 16px 0;font-size:24px;line-height:1.3;">Hello {{Name}}, good to have you with us</h1>
  <p style="margin:0 0 16px 0;">Your account is ready. What you can do there:</p>
  <ul style="margin:0 0 24px 0;padding:0 0 0 22px;">
    <li style="margin:0 0 6px 0;">see what you ordered and where it is</li>
    <li style="margin:0 0 6px 0;">keep a list of things for later</li>
    <li style="margin:0;">change your address in one place</li>
  </ul>
  {{#Coupon}}
  <table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 24px 0;"><tr>
    <td class="line" align="center" style="padding:18px;border:2px dashed #b9c3d6;border-radius:10px;">
      A present to begin with: {{Discount}} off your first order<br>
      <strong style="font-size:22px;letter-spacing:2px;">{{Code}}</strong>
    </td>
  </tr></table>
  {{/Coupon}}
  <table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 24px 0;"><tr>
    <td bgcolor="#0b57d0" style="border-radius:8px;background:#0b57d0;"><a class="button" href="{{Link}}" style="display:inline-block;padding:14px 26px;border-radius:8px;color:#ffffff;font-weight:bold;text-decoration:none;">Open your account</a></td>
  </tr></table>
  <p class="soft" style="margin:0;color:#5c6473;font-size:14px;">Does the button not work? Copy this link into your browser:<br>
    <a href="{{Link}}" style="word-break:break-all;">{{Link}}</a></p>
{{>footer}}
</body>
</html>
