// Events as producers write them.
#pragma once

#include <string_view>

namespace postbus {

// The seed's example, byte for byte.
inline constexpr std::string_view kSeedExample = R"({
  "type": "password_reset",
  "message": {
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "from": "noreply@usualstore.com",
    "to": "user@example.com",
    "subject": "Password Reset Request",
    "template": "password-reset",
    "data": {
      "Link": "https://usualstore.com/reset?token=abc123"
    },
    "priority": "high",
    "timestamp": "2025-12-25T20:00:00Z",
    "retry_count": 0,
    "max_retries": 3,
    "status": "pending"
  }
})";

// What Go's encoding/json writes for the seed's structs with only To and Template set.
inline constexpr std::string_view kGoZeroValues =
    R"({"type":"","message":{"id":"","from":"","to":"user@example.com","subject":"","template":"welcome","data":null,)"
    R"("priority":"","timestamp":"0001-01-01T00:00:00Z","retry_count":0,"max_retries":0,"status":""}})";

}  // namespace postbus
