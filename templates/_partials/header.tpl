<table role="presentation" class="page" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%;background:#f3f4f7;">
<tr><td align="center" style="padding:32px 12px;">
<!--[if mso]><table role="presentation" width="600" cellpadding="0" cellspacing="0" border="0"><tr><td><![endif]-->
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%;max-width:600px;">
<tr><td style="padding:0 8px 20px 8px;">
  <table role="presentation" cellpadding="0" cellspacing="0" border="0"><tr>
    <td width="36" height="36" align="center" bgcolor="#0b57d0" aria-hidden="true" style="width:36px;height:36px;border-radius:9px;background:#0b57d0;color:#ffffff;font:bold 20px/36px Arial,Helvetica,sans-serif;">U</td>
    <td class="ink" style="padding-left:12px;color:#1c2230;font:bold 18px/36px 'Segoe UI',Roboto,Arial,Helvetica,sans-serif;">Usual Store</td>
  </tr></table>
</td></tr>
<tr><td class="card ink" style="padding:32px 28px;background:#ffffff;border:1px solid #e1e4ea;border-radius:14px;color:#1c2230;font:16px/1.6 'Segoe UI',Roboto,Arial,Helvetica,sans-serif;">
