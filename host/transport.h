// host/transport.h - the C++ face of one transport instance: lifecycle, order checks, strings.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "event/status.h"
#include "host/plugin_library.h"
#include "host/plugin_options.h"
#include "postbus/abi.h"
#include "queue/queue.h"

namespace postbus {

// What an instance tells the host. Any thread, several at a time; never blocks.
class TransportSink {
 public:
  virtual ~TransportSink() = default;
  virtual void PermitSend(std::span<const uint64_t> tokens, std::span<uint8_t> verdicts) = 0;
  // `result` has passed the checks of Transport (known outcome, sizes, indexes are for the pipeline to check).
  virtual void Complete(uint64_t token, const postbus_result& result) = 0;
  virtual void Writable() = 0;
};

// Thread-safe where the ABI's tag says [any]; the rest from the control thread. Keeps its library loaded.
class Transport {
 public:
  // `sink` and `log` must outlive the Transport. Errors begin with `where` (the transport's name).
  static Result<std::unique_ptr<Transport>> Create(std::shared_ptr<const PluginLibrary> library, std::string name,
                                                   const PluginOptions& options, TransportSink& sink, QueueLog log);
  // REQUIRES: outstanding() == 0.
  ~Transport();

  const std::string& name() const;
  const PluginLibrary& library() const;
  bool wants_raw() const;
  bool wants_parts() const;
  bool test_only() const;

  Status Probe(int64_t deadline_boot_ms);                       // [control]
  uint32_t Submit(std::span<const postbus_mail* const> mails);  // [any]; how many were taken
  void Cancel(std::span<const uint64_t> tokens);                // [any]
  void Quiesce(int64_t deadline_boot_ms);                       // [control]
  uint32_t outstanding() const;                                 // [any]

 private:
  Transport();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
