// postbus/transport.hpp - a transport as a C++ class that does its own I/O, for those who need more than
// BlockingTransport. The rules of postbus/abi/transport.h hold; the tags are repeated here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "postbus/abi/transport.h"
#include "postbus/barrier.hpp"
#include "postbus/plugin.hpp"

namespace postbus::sdk {

// Derive from it, give the class a constructor `Name(Host host, const Options& options)` that throws std::runtime_error
// with a sentence where it cannot be, and export it with POSTBUS_EXPORT_TRANSPORT. The constructor opens no connection.
// The destructor runs at Outstanding() == 0 and joins the instance's threads. [control]
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Tries what a first mail would try and sends none; false with a sentence in `report` if that fails. May block until
  // `deadline_ms`. [control]
  virtual bool Probe(int64_t deadline_ms, std::string& report) = 0;

  // Takes the first k of `mails` and returns k; each of those is completed exactly once (Host::Complete), from any
  // thread, also from within. Never blocks. Having taken fewer it calls Host::Writable when there is room. A Submit
  // that throws must have taken none: they are completed for it. [any]
  virtual uint32_t Submit(std::span<const postbus_mail* const> mails) = 0;

  // Those before their point of no return are completed as NOT_SENT soon; unknown tokens are ignored. Never blocks.
  // [any]
  virtual void Cancel(std::span<const uint64_t> tokens) = 0;

  // Nothing more will be submitted: finish, and past `deadline_ms` complete the rest. Never blocks. [control]
  virtual void Quiesce(int64_t deadline_ms) = 0;

  // Mails taken and not yet completed. [any]
  virtual uint32_t Outstanding() const = 0;
};

// The C functions of transport class T with option table kTable.
template <typename T, const About& kAbout, const auto& kTable>
class TransportTable {
 public:
  static const void* Get(postbus_str extension_id) {
    return View(extension_id) == POSTBUS_TRANSPORT_ID ? &kTransport : nullptr;
  }

 private:
  struct Instance {
    Host host;
    T transport;
  };
  static Instance& Of(postbus_instance* self) { return *reinterpret_cast<Instance*>(self); }

  static int32_t Create(const postbus_host* host, const postbus_options* options, postbus_instance** out,
                        const postbus_sink* error) noexcept {
    return Barrier(
        [&]() -> int32_t {
          *out = reinterpret_cast<postbus_instance*>(
              new Instance{.host = Host(host), .transport = T(Host(host), Options(*options, kTable))});
          return POSTBUS_OK;
        },
        [&](std::string_view what) -> int32_t {
          Sink(error).Write(what);
          return POSTBUS_ERROR;
        });
  }

  static int32_t Probe(postbus_instance* self, int64_t deadline_ms, const postbus_sink* report) noexcept {
    return Barrier(
        [&]() -> int32_t {
          std::string sentence;
          const bool passed = Of(self).transport.Probe(deadline_ms, sentence);
          Sink(report).Write(sentence);
          return passed ? POSTBUS_OK : POSTBUS_ERROR;
        },
        [&](std::string_view what) -> int32_t {
          Sink(report).Write(what);
          return POSTBUS_ERROR;
        });
  }

  static uint32_t Submit(postbus_instance* self, const postbus_mail* const* mails, uint32_t n) noexcept {
    return Barrier([&] { return Of(self).transport.Submit(std::span(mails, n)); },
                   [&](std::string_view what) {
                     const Host host = Of(self).host;
                     LogThrown(host, "submit", what);
                     const Outcome fault = Outcome::ProviderFault("the transport plugin failed: " + std::string(what));
                     for (uint32_t i = 0; i < n; ++i) host.Complete(mails[i]->token, fault);
                     return n;
                   });
  }

  static void Cancel(postbus_instance* self, const uint64_t* tokens, uint32_t n) noexcept {
    Barrier([&] { Of(self).transport.Cancel(std::span(tokens, n)); },
            [&](std::string_view what) { LogThrown(Of(self).host, "cancel", what); });
  }

  static void Quiesce(postbus_instance* self, int64_t deadline_ms) noexcept {
    Barrier([&] { Of(self).transport.Quiesce(deadline_ms); },
            [&](std::string_view what) { LogThrown(Of(self).host, "quiesce", what); });
  }

  static uint32_t Outstanding(postbus_instance* self) noexcept {
    return Barrier([&] { return Of(self).transport.Outstanding(); },
                   [&](std::string_view what) {
                     LogThrown(Of(self).host, "outstanding", what);
                     return uint32_t{1};
                   });
  }

  static void Destroy(postbus_instance* self) noexcept { delete &Of(self); }

  static constexpr postbus_transport kTransport = {.size = sizeof(postbus_transport),
                                                   .caps = kAbout.caps,
                                                   .create = &Create,
                                                   .probe = &Probe,
                                                   .submit = &Submit,
                                                   .cancel = &Cancel,
                                                   .quiesce = &Quiesce,
                                                   .outstanding = &Outstanding,
                                                   .destroy = &Destroy};
};

}  // namespace postbus::sdk

// The plugin's one exported symbol, at global scope, once in a plugin:
//   POSTBUS_EXPORT_TRANSPORT(acme::Acme, acme::kAbout, acme::kOptions);
// `about` is a constexpr sdk::About, `options` a constexpr std::array of sdk::Option.
#define POSTBUS_EXPORT_TRANSPORT(Class, about, options)                                           \
  constinit const postbus_entry postbus_plugin_entry = ::postbus::sdk::MakeEntry<about, options>( \
      POSTBUS_KIND_TRANSPORT, &::postbus::sdk::TransportTable<Class, about, options>::Get)
