// event/status.h - expected failures as values: a category to act on and a sentence a user can act on.
// Value types; no thread rules.
#pragma once

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace postbus {

enum class ErrorKind {
  kInvalid,      // the input is wrong: the caller must change it
  kNotFound,     // named thing does not exist
  kConflict,     // somebody else holds it (a lock, an id)
  kUnavailable,  // may work later: broker away, disk full, queue full
  kUncertain,    // may or may not have happened: repeat with the same id
  kInternal,     // a defect of ours
};

// Success is a null pointer, so the good path costs nothing.
class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(ErrorKind kind, std::string message) : error_(std::make_unique<Error>(Error{kind, std::move(message)})) {}

  static Status Invalid(std::string message) { return {ErrorKind::kInvalid, std::move(message)}; }
  static Status NotFound(std::string message) { return {ErrorKind::kNotFound, std::move(message)}; }
  static Status Conflict(std::string message) { return {ErrorKind::kConflict, std::move(message)}; }
  static Status Unavailable(std::string message) { return {ErrorKind::kUnavailable, std::move(message)}; }
  static Status Uncertain(std::string message) { return {ErrorKind::kUncertain, std::move(message)}; }
  static Status Internal(std::string message) { return {ErrorKind::kInternal, std::move(message)}; }

  bool ok() const { return error_ == nullptr; }
  // REQUIRES: !ok().
  ErrorKind kind() const { return error_->kind; }
  // What, where, what to do; empty on success. No address, no secret.
  std::string_view message() const { return error_ ? std::string_view(error_->message) : std::string_view(); }

 private:
  struct Error {
    ErrorKind kind;
    std::string message;
  };
  std::unique_ptr<Error> error_;
};

// A value or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  Status TakeStatus() { return std::move(status_); }

  // REQUIRES: ok().
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace postbus
