#!/bin/sh
# Posts a mail to the HTTP API; prints the answer, {"id":"…","status":"pending"}: password_reset.sh ADDRESS LINK
# POSTBUS_API says where to.
set -eu
address=${1:?usage: $0 ADDRESS LINK} link=${2:?usage: $0 ADDRESS LINK}
curl --silent --show-error --fail-with-body --max-time 30 \
  "${POSTBUS_API:-http://127.0.0.1:8080}/v1/emails" -H 'Content-Type: application/json' -d @- <<JSON
{
  "from": "noreply@usualstore.com",
  "to": "$address",
  "subject": "Password Reset Request",
  "template": "password-reset",
  "data": { "Link": "$link" },
  "priority": "high"
}
JSON
