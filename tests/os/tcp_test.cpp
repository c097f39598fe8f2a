// SPDX-License-Identifier: MIT
#include "os/tcp.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "os/fd.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A socket on a free port of this machine.
struct LocalPort {
  explicit LocalPort(bool listening) : fd(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length), 0);
    EXPECT_TRUE(!listening || ::listen(fd.get(), 1) == 0);
    address = {.host = "127.0.0.1", .port = ntohs(name.sin_port)};
  }
  Fd fd;
  TcpAddress address;
};

TEST(TcpAddressText, IsHostAndPort) {
  const auto plain = parse_tcp_address("lab:50052");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "lab");
  EXPECT_EQ(plain->port, 50052);
  EXPECT_EQ(plain->text(), "lab:50052");
  const auto v6 = parse_tcp_address("[::1]:7");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->text(), "[::1]:7");
}

TEST(TcpAddressText, AnythingElseIsRefusedWithAnExample) {
  for (const char* bad : {"", ":", "lab", "lab:", ":1", "lab:0", "lab:65536", "lab:-1", "lab:1x", "::1:7", "[]:7",
                          "http://lab:80", "a b:1", "[::1:7"}) {
    const auto refused = parse_tcp_address(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(refused.error().message(), HasSubstr("for example"));
  }
}

TEST(TcpConnect, FindsSomebodyWhoListens) {
  const LocalPort port(true);
  const auto seconds = try_tcp_connect(port.address, 5);
  ASSERT_TRUE(seconds) << seconds.error().message();
  EXPECT_GE(*seconds, 0);
}

TEST(TcpConnect, AClosedPortIsAnErrorThatNamesIt) {
  const LocalPort port(false);
  const auto refused = try_tcp_connect(port.address, 5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kIo);
  EXPECT_THAT(refused.error().message(), StartsWith(port.address.text()));
}

}  // namespace
}  // namespace spillway
