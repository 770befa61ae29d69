// admin/drain_request.h - POST /-/drain {} or {"leave":true}.
#pragma once

#include <functional>

#include "api/http_server.h"

namespace postbus {

// Asks for the end of the process and says so, before it comes. REQUIRES: request.method is POST.
HttpResponse AnswerDrain(const HttpRequest& request, const std::function<void(bool leave)>& drain);

}  // namespace postbus
