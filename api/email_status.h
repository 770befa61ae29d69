// api/email_status.h - what GET /v1/emails/{id} answers, made of what was recorded. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "queue/status_record.h"

namespace postbus {

// {"event":"sent","at":…,"recipients":[0],…}: one change, absent fields left out. Appends.
void AppendChange(const StatusRecord& record, std::string& out);

// {"id","status","last_event","attempts","history":[…]}. Appends. REQUIRES: `history` is not empty.
void AppendEmailStatus(std::string_view id, std::span<const StatusRecord> history, std::string& out);

}  // namespace postbus
