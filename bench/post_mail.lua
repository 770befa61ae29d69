-- For wrk: posts mails as a service does, each with a body of its own; counts what is not 202.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local sent = 0
function request()
  sent = sent + 1
  local body = string.format(
    '{"to":"user-%d@example.com","template":"password-reset","data":{"Link":"https://usualstore.com/reset?token=%032d"}}',
    sent, sent)
  return wrk.format(nil, nil, nil, body)
end

function done(summary)
  local errors = summary.errors
  io.write(string.format("accepted/s: %.0f  (not 2xx: %d, connection errors: %d)\n",
    (summary.requests - errors.status) / summary.duration * 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
