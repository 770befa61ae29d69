// api/problem.h - error answers: RFC 9457 application/problem+json.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "api/http_server.h"
#include "event/email_event.h"

namespace postbus {

// {"type":"about:blank","title":…,"status":…,"code":…,"detail":…,"errors":[{"pointer","detail"}]}. `code` is for
// programs ("invalid_event"), `detail` for people; `errors` may be empty. `members`: more of them, as JSON
// (`"id":"x"`).
HttpResponse Problem(int status, std::string_view code, std::string_view detail, std::span<const Violation> errors = {},
                     std::string_view members = {});

// For HttpServer's own answers.
HttpResponse HttpErrorProblem(int status, std::string_view detail);

}  // namespace postbus
