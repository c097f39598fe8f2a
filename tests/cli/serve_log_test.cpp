// SPDX-License-Identifier: MIT
#include "cli/serve_log.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(ServeLog, ARequestIsOneLineWhateverItsPathHolds) {
  WebRequest request;
  request.remote = "192.0.2.1";
  request.method = "GET";
  request.path = "/api/tags";
  EXPECT_EQ(log_line(request, 200, 0.0014), "192.0.2.1 GET /api/tags 200 0.001 s");
  request.path = "/\n2026-01-01T00:00:00.000 info unloading all\x1b]52;c;eA==\x07\xff\r\t";
  const std::string line = log_line(request, 404, 1);
  for (const char* control : {"\n", "\x1b", "\x07", "\xff", "\r"}) EXPECT_THAT(line, Not(HasSubstr(control)));
  EXPECT_THAT(line, StartsWith("192.0.2.1 GET /?2026-01-01"));
  request.path.assign(60'000, 'a');
  EXPECT_LT(log_line(request, 404, 1).size(), 300u);
}

TEST(ServeLog, ASentenceIsOneLine) { EXPECT_EQ(log_line("loading a\nb: \x1b[2J of\tc"), "loading a b: ?[2J of\tc"); }

}  // namespace
}  // namespace spillway
