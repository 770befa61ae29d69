#include "plugins/smtp/mail_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

namespace postbus::smtp {
namespace {

class MailQueueTest : public testing::Test {
 protected:
  MailTask& Task(uint64_t token, uint32_t flags) {
    postbus_mail& mail = mails_.emplace_back();
    mail.token = token;
    mail.flags = flags;
    MailTask& task = tasks_.emplace_back();
    task.mail = &mail;
    return task;
  }
  MailTask& High(uint64_t token) { return Task(token, POSTBUS_MAIL_HIGH); }
  MailTask& Normal(uint64_t token) { return Task(token, 0); }
  MailTask& Low(uint64_t token) { return Task(token, POSTBUS_MAIL_LOW); }

  // The tokens that idle connections get, until none gets any.
  static std::vector<uint64_t> PopAll(MailQueue& queue) {
    std::vector<uint64_t> tokens;
    while (const MailTask* task = queue.Pop()) tokens.push_back(task->mail->token);
    return tokens;
  }

  std::deque<postbus_mail> mails_;
  std::deque<MailTask> tasks_;
};

TEST_F(MailQueueTest, KeepsOneInSixteenAndOneAtLeastOfTwo) {
  const std::vector<std::pair<size_t, size_t>> kept = {{0, 0},  {1, 0},  {2, 1},  {3, 1},     {16, 1},
                                                       {31, 1}, {32, 2}, {50, 3}, {1000, 62}, {4096, 256}};
  for (const auto& [all, expected] : kept) EXPECT_EQ(MailQueue::KeptForHigh(all), expected) << all;
}

TEST_F(MailQueueTest, OthersGetAllConnectionsButThoseThatAreKept) {
  MailQueue queue(4);
  for (uint64_t i = 1; i <= 5; ++i) queue.PushBack(i % 2 == 0 ? Low(i) : Normal(i));
  EXPECT_EQ(queue.servable(), 3u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{1, 3, 5}));
  EXPECT_EQ(queue.servable(), 0u);
  EXPECT_FALSE(queue.has_room_for_others());
  EXPECT_FALSE(queue.empty());

  queue.PushBack(High(6));
  queue.PushFront(High(7));
  EXPECT_EQ(queue.servable(), 2u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{7, 6}));

  queue.OtherEnded();
  EXPECT_EQ(queue.servable(), 1u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{2}));
  queue.OtherEnded();
  queue.OtherEnded();
  EXPECT_EQ(queue.servable(), 1u) << "no more than wait";
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{4}));
  EXPECT_TRUE(queue.empty());
}

TEST_F(MailQueueTest, AloneAConnectionServesAll) {
  MailQueue queue(1);
  queue.PushBack(Low(1));
  EXPECT_EQ(queue.servable(), 1u);
  EXPECT_EQ(PopAll(queue), std::vector<uint64_t>{1});
}

TEST_F(MailQueueTest, WhatGoesAheadIsOfItsKind) {
  MailQueue queue(2);
  queue.PushBack(Low(1));
  queue.PushBack(High(2));
  queue.PushBack(Normal(3));
  EXPECT_EQ(queue.waiting(/*high=*/true), 1u);
  EXPECT_EQ(queue.waiting(/*high=*/false), 2u);
  EXPECT_EQ(queue.PopLike(/*high=*/false)->mail->token, 3u);
  EXPECT_EQ(queue.PopLike(/*high=*/false)->mail->token, 1u);
  EXPECT_EQ(queue.PopLike(/*high=*/true)->mail->token, 2u);
  EXPECT_TRUE(queue.has_room_for_others()) << "they share the connection of the one before them";
}

TEST_F(MailQueueTest, ExtractTakesOutWhatIsMeantAndKeepsTheOrder) {
  MailQueue queue(8);
  for (uint64_t i = 1; i <= 6; ++i) queue.PushBack(i <= 3 ? High(i) : Normal(i));
  std::vector<uint64_t> out;
  queue.Extract([](const MailTask& task) { return task.mail->token % 2 == 0; },
                [&](const MailTask& task) { out.push_back(task.mail->token); });
  EXPECT_EQ(out, (std::vector<uint64_t>{2, 4, 6}));
  EXPECT_EQ(queue.waiting(true), 2u);
  EXPECT_EQ(queue.waiting(false), 1u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{1, 3, 5}));
}

}  // namespace
}  // namespace postbus::smtp
