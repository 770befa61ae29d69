// admin/pause_request.h - POST /-/pause {"transport":"primary","for":"1h"} and POST /-/resume {"transport":"primary"}.
#pragma once

#include "api/http_server.h"
#include "host/pauses.h"

namespace postbus {

// Does what is asked for and says so. REQUIRES: request.path is /-/pause or /-/resume, its method POST.
HttpResponse AnswerPause(const HttpRequest& request, Pauses& pauses);

}  // namespace postbus
