  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="format-detection" content="telephone=no, date=no, address=no, email=no">
  <meta name="color-scheme" content="light dark">
  <meta name="supported-color-schemes" content="light dark">
  <style>
    :root { color-scheme: light dark; supported-color-schemes: light dark; }
    a { color: #0b57d0; }
    @media (prefers-color-scheme: dark) {
      body, .page { background: #16181d !important; }
      .card { background: #22252c !important; border-color: #363a44 !important; }
      .ink, .ink td, .ink th, h1 { color: #eceef2 !important; }
      .soft { color: #a9afbb !important; }
      .line { border-color: #363a44 !important; }
      a { color: #8ab4f8; }
      a.button { color: #ffffff !important; }
    }
  </style>
