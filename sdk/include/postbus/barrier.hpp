// postbus/barrier.hpp - no exception crosses the ABI: every function the host calls runs inside Barrier. What a plugin
// throws, std::exception or not, becomes a value that fails closed, and a log line:
//   construction -> POSTBUS_ERROR with what() as the sentence     Probe -> POSTBUS_ERROR, likewise
//   Submit       -> all offered mails are taken and completed as PROVIDER_FAULT (see Transport::Submit)
//   Outstanding  -> 1, so that the host never destroys an instance that may still hold mails
//   Render       -> POSTBUS_RENDER_FAILED                         Cancel, Quiesce, List -> logged
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "postbus/plugin.hpp"

namespace postbus::sdk {

// Returns body(), or failure(sentence) where body throws. `failure` must not throw.
template <typename Body, typename Failure>
auto Barrier(Body&& body, Failure&& failure) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::exception& e) {
    return failure(std::string_view(e.what()));
  } catch (...) {
    return failure(std::string_view("something that is no std::exception was thrown"));
  }
}

inline void LogThrown(Host host, std::string_view function, std::string_view what) {
  host.Log(LogLevel::kError, std::string(function).append(" threw: ").append(what));
}

}  // namespace postbus::sdk
