#include "event/status.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

TEST(StatusTest, SuccessHasNoMessage) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.message(), "");
}

TEST(StatusTest, MakersSetKindAndMessage) {
  EXPECT_EQ(Status::Invalid("a").kind(), ErrorKind::kInvalid);
  EXPECT_EQ(Status::NotFound("a").kind(), ErrorKind::kNotFound);
  EXPECT_EQ(Status::Conflict("a").kind(), ErrorKind::kConflict);
  EXPECT_EQ(Status::Unavailable("a").kind(), ErrorKind::kUnavailable);
  EXPECT_EQ(Status::Uncertain("a").kind(), ErrorKind::kUncertain);
  EXPECT_EQ(Status::Internal("a").kind(), ErrorKind::kInternal);
  const Status status = Status::Conflict("the file is locked");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.message(), "the file is locked");
}

TEST(ResultTest, HoldsAValueOrAStatus) {
  Result<std::string> value = std::string("x");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, "x");
  EXPECT_EQ(value->size(), 1u);

  Result<std::string> failure = Status::NotFound("no such template");
  ASSERT_FALSE(failure.ok());
  EXPECT_EQ(failure.status().kind(), ErrorKind::kNotFound);
  const Status taken = failure.TakeStatus();
  EXPECT_EQ(taken.message(), "no such template");
}

TEST(ResultTest, TakesMoveOnlyValues) {
  Result<std::unique_ptr<int>> value = std::make_unique<int>(7);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(**value, 7);
}

}  // namespace
}  // namespace postbus
