// plugins/smtp/mail_queue.h - the mails that wait for one of a pool's connections: high before normal before low, first
// in, first out within a priority.
//
// Some connections are kept for high mails: the others may have all but one in 16 (and but one, where there are two or
// more) at a time. However slow the server is with those, a high mail finds a connection or may open one. Not
// thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "plugins/smtp/session.h"

namespace postbus::smtp {

class MailQueue {
 public:
  // What is kept for high mails of `n` connections, or of `n` mails a transport may hold.
  static size_t KeptForHigh(size_t n) { return n < 2 ? 0 : std::max<size_t>(1, n / 16); }
  static bool IsHigh(const postbus_mail& mail) { return (mail.flags & POSTBUS_MAIL_HIGH) != 0; }
  static bool IsHigh(const MailTask& task) { return IsHigh(*task.mail); }

  explicit MailQueue(size_t connections) : room_for_others_(connections - KeptForHigh(connections)) {}

  void PushBack(MailTask& task) { ListOf(task).PushBack(task); }
  void PushFront(MailTask& task) { ListOf(task).PushFront(task); }

  bool empty() const { return waiting(true) + waiting(false) == 0; }
  size_t waiting(bool high) const { return high ? lists_[kHigh].size() : lists_[kNormal].size() + lists_[kLow].size(); }
  // How many idle connections could be given a mail.
  size_t servable() const { return waiting(true) + std::min(waiting(false), room_for_others_); }
  bool has_room_for_others() const { return room_for_others_ > 0; }

  // The next mail for an idle connection; null: none that may have one. Unless it is high, OtherEnded is to be called
  // when that connection has nothing to do any more.
  MailTask* Pop() {
    if (waiting(true) > 0) return PopLike(true);
    if (waiting(false) == 0 || room_for_others_ == 0) return nullptr;
    --room_for_others_;
    return PopLike(false);
  }
  void OtherEnded() { ++room_for_others_; }

  // The next mail that may follow one of its kind on the same connection: a high one must not wait for the server to
  // make up its mind about another. REQUIRES: waiting(high) > 0.
  MailTask* PopLike(bool high) {
    return high ? lists_[kHigh].Pop() : lists_[lists_[kNormal].size() > 0 ? kNormal : kLow].Pop();
  }

  // Takes out what `condition` is true of, and gives it to `use`.
  template <typename Condition, typename Use>
  void Extract(Condition condition, Use use) {
    for (List& list : lists_) {
      List rest;
      List found;
      while (list.size() > 0) {
        MailTask* task = list.Pop();
        (condition(*task) ? found : rest).PushBack(*task);
      }
      list = rest;
      while (found.size() > 0) use(*found.Pop());
    }
  }

 private:
  // Through MailTask::next.
  class List {
   public:
    size_t size() const { return size_; }
    void PushBack(MailTask& task) {
      task.next = nullptr;
      (head_ == nullptr ? head_ : tail_->next) = &task;
      tail_ = &task;
      ++size_;
    }
    void PushFront(MailTask& task) {
      task.next = head_;
      if (head_ == nullptr) tail_ = &task;
      head_ = &task;
      ++size_;
    }
    MailTask* Pop() {
      MailTask* task = head_;
      head_ = task->next;
      --size_;
      return task;
    }

   private:
    MailTask* head_ = nullptr;
    MailTask* tail_ = nullptr;
    size_t size_ = 0;
  };

  enum : size_t { kHigh, kNormal, kLow };

  List& ListOf(const MailTask& task) {
    return lists_[IsHigh(task) ? kHigh : (task.mail->flags & POSTBUS_MAIL_LOW) != 0 ? kLow : kNormal];
  }

  std::array<List, 3> lists_;
  size_t room_for_others_;  // connections
};

}  // namespace postbus::smtp
