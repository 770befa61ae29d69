#include "tests/queue/sqlite/fault_vfs.h"

#include <sqlite3.h>

#include <chrono>
#include <map>
#include <mutex>
#include <thread>

namespace postbus::sqlite {
namespace {

Faults faults;
sqlite3_vfs* real_vfs = nullptr;
sqlite3_vfs fault_vfs;

// The real VFS has a table of methods for each kind of file; ours is a patched copy of it.
struct Methods {
  sqlite3_io_methods patched;  // first: a file points to it
  const sqlite3_io_methods* real;
};
std::mutex methods_mutex;
std::map<const sqlite3_io_methods*, Methods> methods_of;  // by the real table

const sqlite3_io_methods* Real(const sqlite3_file* file) {
  return reinterpret_cast<const Methods*>(file->pMethods)->real;
}

int Read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
  if (const int result = faults.read_result) return result;
  return Real(file)->xRead(file, out, size, offset);
}

int Write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  if (const int result = faults.write_result) return result;
  if (const int64_t space = faults.space; space != 0 && offset + size > space) return SQLITE_FULL;
  return Real(file)->xWrite(file, bytes, size, offset);
}

int Sync(sqlite3_file* file, int flags) {
  while (faults.sync_hangs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (const int result = faults.sync_result) return result;
  return Real(file)->xSync(file, flags);
}

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  const int result = real_vfs->xOpen(real_vfs, name, file, flags, out_flags);
  if (file->pMethods == nullptr) return result;
  const std::lock_guard lock(methods_mutex);
  Methods& methods = methods_of[file->pMethods];
  if (methods.real == nullptr) {
    methods = {*file->pMethods, file->pMethods};
    methods.patched.xRead = Read;
    methods.patched.xWrite = Write;
    methods.patched.xSync = Sync;
  }
  file->pMethods = &methods.patched;
  return result;
}

}  // namespace

Faults& InstallFaultVfs() {
  static const bool installed = [] {
    real_vfs = sqlite3_vfs_find(nullptr);
    fault_vfs = *real_vfs;
    fault_vfs.zName = "fault";
    fault_vfs.xOpen = Open;
    return sqlite3_vfs_register(&fault_vfs, 1) == SQLITE_OK;
  }();
  static_cast<void>(installed);
  return faults;
}

}  // namespace postbus::sqlite
