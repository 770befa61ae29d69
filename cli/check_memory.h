// cli/check_memory.h - memory of plugin checks that can be taken away: a plugin that keeps a view for longer than it
// may crashes at its next look, on every run instead of one day.
#pragma once

#include <cstddef>
#include <string_view>

#include "postbus/abi.h"

namespace postbus {

// Pages of its own. Copies of views, with all they point to, are put into it one after the other. Not thread-safe;
// TakeAway is, against the plugin.
class CheckMemory {
 public:
  // Aborts where there is no memory.
  explicit CheckMemory(size_t bytes);
  CheckMemory(const CheckMemory&) = delete;
  CheckMemory& operator=(const CheckMemory&) = delete;
  // No destructor: an address that was taken away is never given to anything else. The process ends soon.

  const postbus_mail* Copy(const postbus_mail& mail);
  const postbus_options* Copy(const postbus_options& options);
  const postbus_mail* const* Copy(const postbus_mail* const* mails, size_t n);

  // Whoever reads it from now on crashes.
  void TakeAway();

 private:
  template <typename T>
  T* Put(const T* from, size_t n);
  postbus_str Copy(postbus_str text);
  postbus_mailbox Copy(const postbus_mailbox& mailbox);
  const postbus_mailbox* CopyMailboxes(const postbus_mailbox* from, uint32_t n);
  const postbus_header* CopyHeaders(const postbus_header* from, uint32_t n);
  const postbus_str* CopyTexts(const postbus_str* from, uint32_t n);
  const postbus_parts* Copy(const postbus_parts& parts);

  const size_t capacity_;
  char* const begin_;
  size_t used_ = 0;
};

}  // namespace postbus
