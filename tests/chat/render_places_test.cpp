// SPDX-License-Identifier: MIT
#include "chat/render_places.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

namespace spillway {
namespace {

class RenderPlacesTest : public testing::Test {
 protected:
  using Place = std::unique_ptr<RenderPlaces::Place>;
  Place take(bool is_long) { return std::make_unique<RenderPlaces::Place>(places_, is_long); }
  // Waits for a place, behind who waits already.
  std::future<Place> queue_up(bool is_long) {
    const size_t n = places_.n_waiting();
    auto taken = std::async(std::launch::async, [this, is_long] { return take(is_long); });
    while (places_.n_waiting() == n) std::this_thread::yield();
    return taken;
  }

  RenderPlaces places_{4};
};

TEST_F(RenderPlacesTest, AShortOneFindsAPlaceHoweverManyLongOnesWait) {
  Place long_one = take(true), other_long_one = take(true);
  auto third = queue_up(true);
  Place short_one = take(false), other_short_one = take(false);
  short_one.reset();
  EXPECT_EQ(places_.n_waiting(), 1u) << "there are two long ones";
  long_one.reset();
  EXPECT_NE(third.get(), nullptr);
}

TEST_F(RenderPlacesTest, WhoCameFirstIsNextAndALongOneDoesNotWaitForEver) {
  Place places[] = {take(false), take(false), take(false), take(false)};
  auto first = queue_up(true), second = queue_up(false), third = queue_up(true);
  places[0].reset();
  const Place first_place = first.get();
  auto last = queue_up(false);
  places[1].reset();
  const Place second_place = second.get();
  places[2].reset();
  const Place third_place = third.get();
  EXPECT_EQ(places_.n_waiting(), 1u) << "who came last";
  places[3].reset();
  EXPECT_NE(last.get(), nullptr);
}

}  // namespace
}  // namespace spillway
