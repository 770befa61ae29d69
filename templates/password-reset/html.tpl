<!doctype html>
<html lang="en">
<head>
  <title>Reset your password</title>
{{>head}}
</head>
<body style="margin:0;padding:0;background:#f3f4f7;">
<div style="display:none;max-height:0;overflow:hidden;">Choose a new password for your Usual Store account. The link works once.</div>
{{>header}}
  <h1 style="margin:0 0 16px 0;font-size:24px;line-height:1.3;">Reset your password</h1>
  <p style="margin:0 0 24px 0;">Somebody, hopefully you, asked for a new password for your Usual Store account. Choose one here:</p>
  <table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 24px 0;"><tr>
    <td bgcolor="#0b57d0" style="border-radius:8px;background:#0b57d0;"><a class="button" href="{{Link}}" style="display:inline-block;padding:14px 26px;border-radius:8px;color:#ffffff;font-weight:bold;text-decoration:none;">Choose a new password</a></td>
  </tr></table>
  <p class="soft" style="margin:0 0 20px 0;color:#5c6473;font-size:14px;">Does the button not work? Copy this link into your browser:<br>
    <a href="{{Link}}" style="word-break:break-all;">{{Link}}</a></p>
  <p class="soft line" style="margin:0;padding-top:20px;border-top:1px solid #e1e4ea;color:#5c6473;font-size:14px;">The link works once. If it was not you, ignore this mail: your password stays as it is.</p>
{{>footer}}
</body>
</html>
