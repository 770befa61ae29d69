</td></tr>
<tr><td class="soft" align="center" style="padding:24px 16px 0 16px;color:#5c6473;font:13px/1.6 'Segoe UI',Roboto,Arial,Helvetica,sans-serif;">
  Questions? Write to <a href="mailto:support@usualstore.com" style="text-decoration:underline;">support@usualstore.com</a>.<br>
  Usual Store sent you this mail because of something you did in our shop. It is no advertisement.
</td></tr>
</table>
<!--[if mso]></td></tr></table><![endif]-->
</td></tr>
</table>
