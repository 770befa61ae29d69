// tests/queue/sqlite/fault_vfs.h - SQLite's file system with faults switched on and off: every connection opened after
// InstallFaultVfs goes through it. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace postbus::sqlite {

struct Faults {
  std::atomic<int> write_result{0};  // an SQLITE_ code instead of writing, e.g. SQLITE_FULL
  std::atomic<int> sync_result{0};
  std::atomic<int> read_result{0};
  std::atomic<int64_t> space{0};  // no file can grow beyond this: SQLITE_FULL; 0 = no limit
  std::atomic<bool> sync_hangs{false};

  void Clear() {
    write_result = sync_result = read_result = 0;
    space = 0;
    sync_hangs = false;
  }
};

// The faults of this process; registers the VFS as SQLite's default at the first call.
Faults& InstallFaultVfs();

}  // namespace postbus::sqlite
