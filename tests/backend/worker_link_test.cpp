// SPDX-License-Identifier: MIT
// The relay between a scripted worker and a scripted ggml. What both say is written as text: "14:24" is command 14
// with 24 bytes, "28" an answer of 28.
#include "backend/worker_link.h"

#include <gmock/gmock.h>

#include <cstring>
#include <functional>

#include "backend/worker_protocol.h"

namespace spillway {
namespace {

using testing::Each;
using testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr double kPatience_s = 30;  // far more than any of this takes
constexpr uint8_t kAllocate = 0, kAllocationSize = 13, kAlignmentOf = 1, kBaseOf = 3, kFree = 4, kSetTensor = 6,
                  kGetTensor = 8, kDeviceCount = 15;

Bytes bytes_of(uint64_t number) {
  Bytes bytes(sizeof number);
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// Either end of a connection, speaking the protocol.
class Speaker {
 public:
  explicit Speaker(TcpStream stream, const StopEvent& stop) : stream_(std::move(stream)), stop_(stop) {}

  void request(uint8_t command, const Bytes& payload) {
    EXPECT_TRUE(stream_.send(join({{std::byte{command}}, bytes_of(payload.size()), payload}), kPatience_s, stop_));
  }
  void answer(const Bytes& payload) { say(join({bytes_of(payload.size()), payload})); }
  void say(const Bytes& bytes) { EXPECT_TRUE(is_heard(bytes)); }
  bool is_heard(const Bytes& bytes) { return stream_.send(bytes, kPatience_s, stop_).has_value(); }

  // What it is asked; empty when the other side hung up.
  Bytes hear_request(uint8_t command) {
    Bytes header(kRequestHeaderBytes);
    if (!stream_.receive(header, kPatience_s, stop_)) return {};
    EXPECT_EQ(std::to_integer<uint8_t>(header[0]), command);
    uint64_t length = 0;
    std::memcpy(&length, header.data() + 1, sizeof length);
    return hear(length);
  }
  Bytes hear_answer() {
    const Bytes header = hear(sizeof(uint64_t));
    uint64_t length = 0;
    std::memcpy(&length, header.data(), sizeof length);
    return hear(length);
  }
  bool hears_the_end() {
    std::byte one{};
    return !stream_.receive(std::span(&one, 1), kPatience_s, stop_);
  }

 private:
  Bytes hear(uint64_t length) {
    Bytes bytes(length);
    EXPECT_TRUE(stream_.receive(bytes, kPatience_s, stop_));
    return bytes;
  }
  TcpStream stream_;
  const StopEvent& stop_;
};

const Bytes kHelloRequest(24, std::byte{7});  // it offers more than TCP
Bytes hello_answer(uint8_t major = kWorkerProtocolMajor) {
  Bytes answer(28, std::byte{7});
  answer[0] = std::byte{major};
  answer[1] = answer[2] = answer[3] = std::byte{0};
  return answer;
}
Bytes allocate_request(uint64_t n_bytes) { return join({Bytes(4), bytes_of(n_bytes)}); }
Bytes buffer_answer(uint64_t name, uint64_t n_bytes) { return join({bytes_of(name), bytes_of(n_bytes)}); }
// Of a tensor [columns][rows], as a request for its size begins.
Bytes tensor_of(uint32_t columns, uint32_t rows) {
  return join({Bytes(24), bytes_of(columns | uint64_t{rows} << 32), bytes_of(1 | uint64_t{1} << 32), Bytes(24)});
}
Bytes get_request(uint64_t n_bytes) { return join({Bytes(296), bytes_of(0), bytes_of(n_bytes)}); }

class WorkerLinkTest : public testing::Test {
 protected:
  using Script = std::function<void(Speaker&)>;

  void SetUp() override {
    stop_ = *StopEvent::open();
    listener_ = *TcpListener::open();
  }
  void TearDown() override {
    stop_.raise();
    if (worker_.joinable()) worker_.join();
  }

  // A worker that says hello and then follows the script; it hangs up at its end.
  void worker_says(Script script) {
    worker_of_any_kind([script = std::move(script)](Speaker& speaker) {
      speaker.hear_request(kWorkerHello);
      speaker.answer(hello_answer());
      script(speaker);
    });
  }
  void worker_of_any_kind(Script script) {
    worker_ = std::thread([this, script = std::move(script)] {
      auto stream = listener_.accept(stop_);
      if (!stream) return;
      Speaker speaker(std::move(*stream), stop_);
      script(speaker);
    });
  }

  std::shared_ptr<WorkerLink> open_link() {
    auto link = WorkerLink::open({.host = "127.0.0.1", .port = listener_.port()});
    EXPECT_TRUE(link);
    return *link;
  }
  // As ggml connects: it says hello at once.
  Speaker connect(const WorkerLink& link) {
    Speaker client(*TcpStream::connect(*parse_tcp_address(link.endpoint()), kPatience_s), stop_);
    client.request(kWorkerHello, kHelloRequest);
    EXPECT_EQ(client.hear_answer().size(), 28u);
    return client;
  }
  static std::string reason(const WorkerLink& link) {
    const auto checked = link.check();
    return checked ? "" : checked.error().message();
  }

  StopEvent stop_;
  TcpListener listener_;
  std::thread worker_;
};

TEST_F(WorkerLinkTest, CommandsAndAnswersPassUnchanged) {
  const Bytes weights(3'000'000, std::byte{5}), result(1'234'567, std::byte{9});
  Bytes seen;
  worker_says([&](Speaker& worker) {
    seen = worker.hear_request(kSetTensor);
    worker.hear_request(kGetTensor);
    worker.answer(result);
    worker.hear_request(kDeviceCount);
    worker.answer({std::byte{2}, {}, {}, {}});
    EXPECT_TRUE(worker.hears_the_end());
  });
  const auto link = open_link();
  {
    Speaker ggml = connect(*link);
    EXPECT_TRUE(link->in_use());
    ggml.request(kSetTensor, weights);  // has no answer
    ggml.request(kGetTensor, get_request(result.size()));
    EXPECT_EQ(ggml.hear_answer(), result);
    ggml.request(kDeviceCount, {});
    EXPECT_EQ(ggml.hear_answer(), (Bytes{std::byte{2}, {}, {}, {}}));
  }
  worker_.join();
  EXPECT_EQ(seen, weights);
  EXPECT_TRUE(link->check()) << reason(*link);
}

TEST_F(WorkerLinkTest, NeitherSideIsOfferedAWayPastTheRelay) {
  Bytes offered;
  worker_of_any_kind([&](Speaker& worker) {
    offered = worker.hear_request(kWorkerHello);
    worker.answer(hello_answer());
    worker.hears_the_end();
  });
  const auto link = open_link();
  {
    Speaker ggml(*TcpStream::connect(*parse_tcp_address(link->endpoint()), kPatience_s), stop_);
    ggml.request(kWorkerHello, kHelloRequest);
    const Bytes answer = ggml.hear_answer();
    EXPECT_THAT(Bytes(answer.begin() + 4, answer.end()), Each(std::byte{0}));
  }
  worker_.join();
  EXPECT_EQ(offered, Bytes(24));
}

TEST_F(WorkerLinkTest, AWorkerThatHangsUpIsRememberedAndStoodInFor) {
  worker_says([](Speaker& worker) { worker.hear_request(kGetTensor); });
  const auto link = open_link();
  {
    Speaker ggml = connect(*link);
    ggml.request(kGetTensor, get_request(100'000));
    EXPECT_EQ(ggml.hear_answer(), Bytes(100'000));
    EXPECT_THAT(reason(*link), HasSubstr("closed the connection"));
    EXPECT_EQ(link->check().error().code(), Code::kUnavailable);
    // Everything that ggml still asks is answered, up to its last word.
    ggml.request(kSetTensor, Bytes(500'000));
    ggml.request(kAlignmentOf, Bytes(4));
    EXPECT_TRUE(WorkerAnswers().take(kAlignmentOf, Bytes(4), ggml.hear_answer()));
  }
  const Speaker later = connect(*link);
}

TEST_F(WorkerLinkTest, AWorkerThatGoesWhileNothingIsAskedIsNoticed) {
  worker_says([](Speaker&) {});
  const auto link = open_link();
  Speaker ggml = connect(*link);
  worker_.join();
  ggml.request(kBaseOf, Bytes(8));
  EXPECT_TRUE(WorkerAnswers().take(kBaseOf, Bytes(8), ggml.hear_answer()));
  EXPECT_THAT(reason(*link), HasSubstr("closed the connection"));
}

TEST_F(WorkerLinkTest, AWorkerThatGivesLessThanWasAskedForIsNotBelieved) {
  constexpr uint64_t kAsked = 1'000'000;
  const auto is_believed = [&](uint64_t address, uint64_t bytes) {
    return WorkerAnswers().take(kAllocate, allocate_request(kAsked), buffer_answer(address, bytes));
  };
  EXPECT_TRUE(is_believed(0, 0)) << "it may refuse";
  EXPECT_TRUE(is_believed(4096, kAsked));
  EXPECT_TRUE(is_believed(4096, kAsked + 64));
  EXPECT_FALSE(is_believed(4096, kAsked - 1));
  EXPECT_FALSE(is_believed(4096, UINT64_MAX));

  worker_says([](Speaker& worker) {
    worker.hear_request(kAllocate);
    worker.answer(buffer_answer(4096, 5));
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kAllocate, allocate_request(kAsked));
  EXPECT_EQ(ggml.hear_answer(), Bytes(16)) << "no buffer is to be had";
  EXPECT_THAT(reason(*link), HasSubstr("answered what no worker would"));
}

TEST_F(WorkerLinkTest, ABufferBeginsAlignedAndEndsBeforeAddressesDo) {
  constexpr uint64_t kName = 77, kBytes = 1'000'000;
  WorkerAnswers answers;
  ASSERT_TRUE(answers.take(kAlignmentOf, Bytes(4), bytes_of(64)));
  ASSERT_TRUE(answers.take(kAllocate, allocate_request(kBytes), buffer_answer(kName, kBytes)));
  const auto begins_at = [&](uint64_t base) { return answers.take(kBaseOf, bytes_of(kName), bytes_of(base)); };
  EXPECT_TRUE(begins_at(1024)) << "as with Metal";
  EXPECT_TRUE(begins_at(4096)) << "as with Vulkan and OpenCL";
  EXPECT_TRUE(begins_at(0x7f12'3456'7000));
  EXPECT_TRUE(begins_at(0xb400'0070'0000'1000)) << "tagged, as on Android";
  for (const uint64_t lie :
       {uint64_t{0}, uint64_t{1}, uint64_t{0xdeadbeef}, UINT64_MAX, UINT64_MAX - 4095, 0 - (uint64_t{1} << 40)})
    EXPECT_FALSE(begins_at(lie)) << lie;
  // What was freed, and what ggml has let go of, is known no more: the same name is another buffer's.
  ASSERT_TRUE(answers.take(kFree, bytes_of(kName), {}));
  answers.forget_buffers();
  EXPECT_TRUE(begins_at(8192));
}

TEST_F(WorkerLinkTest, ATensorTakesAboutAsMuchAsItHolds) {
  const auto takes = [](const Bytes& tensor, uint64_t bytes) {
    return WorkerAnswers().take(kAllocationSize, tensor, bytes_of(bytes));
  };
  constexpr uint32_t kColumns = 4096, kRows = 11008;
  constexpr uint64_t kElements = uint64_t{kColumns} * kRows;
  EXPECT_TRUE(takes(tensor_of(kColumns, kRows), kElements * 2 / 8)) << "two bits each";
  EXPECT_TRUE(takes(tensor_of(kColumns, kRows), kElements * 4 * 33)) << "a result with scratch for it";
  EXPECT_TRUE(takes(tensor_of(1, 1), 1 << 20));
  EXPECT_TRUE(takes(tensor_of(kColumns, 0), 0));
  EXPECT_FALSE(takes(tensor_of(kColumns, kRows), 0));
  EXPECT_FALSE(takes(tensor_of(kColumns, kRows), 1ull << 48));
  EXPECT_FALSE(takes(tensor_of(1, 1), 1ull << 30));
  EXPECT_FALSE(takes(tensor_of(UINT32_MAX, UINT32_MAX), UINT64_MAX));
}

TEST_F(WorkerLinkTest, ABaseBeyondAllAddressesDoesNotReachGgml) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kAllocate);
    worker.answer(buffer_answer(9, 1000));
    worker.hear_request(kBaseOf);
    worker.answer(bytes_of(UINT64_MAX - 4095));
    worker.hears_the_end();
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kAllocate, allocate_request(1000));
  EXPECT_EQ(ggml.hear_answer(), buffer_answer(9, 1000));
  ggml.request(kBaseOf, bytes_of(9));
  EXPECT_NE(ggml.hear_answer(), bytes_of(UINT64_MAX - 4095));
  EXPECT_THAT(reason(*link), HasSubstr("answered what no worker would"));
}

TEST_F(WorkerLinkTest, AWorkerWithoutMemoryIsNamedUntilItHasSome) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kAllocate);
    worker.answer(buffer_answer(0, 0));
    worker.hear_request(kDeviceCount);
    worker.answer({std::byte{1}, {}, {}, {}});
    worker.hear_request(kAllocate);
    worker.answer(buffer_answer(9, 1000));
    worker.hears_the_end();
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  EXPECT_TRUE(link->check_room());
  ggml.request(kAllocate, allocate_request(5'000'000));
  EXPECT_EQ(ggml.hear_answer(), Bytes(16));
  ggml.request(kDeviceCount, {});
  ggml.hear_answer();
  const auto room = link->check_room();
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().code(), Code::kUnavailable);
  EXPECT_THAT(room.error().message(), HasSubstr("worker " + link->address() + " has no memory for 5 MiB more"));
  EXPECT_TRUE(link->check()) << "what it holds is whole";
  ggml.request(kAllocate, allocate_request(1000));
  ggml.hear_answer();
  EXPECT_TRUE(link->check_room());
}

TEST_F(WorkerLinkTest, ATensorCutInTheMiddleIsFilledUpAndWorthNothing) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kGetTensor);
    worker.say(join({bytes_of(1'000'000), Bytes(400'000, std::byte{1})}));
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kGetTensor, get_request(1'000'000));
  EXPECT_EQ(ggml.hear_answer().size(), 1'000'000u);
  EXPECT_THAT(reason(*link), HasSubstr("closed the connection"));
}

TEST_F(WorkerLinkTest, ASilentWorkerIsGivenUpAtTheLimit) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kGetTensor);
    worker.hears_the_end();
  });
  const auto link = open_link();
  link->set_answer_limit(0.05);
  Speaker ggml = connect(*link);
  ggml.request(kGetTensor, get_request(8));
  EXPECT_EQ(ggml.hear_answer(), Bytes(8));
  EXPECT_THAT(reason(*link), HasSubstr("was silent for 0.05 s"));
}

TEST_F(WorkerLinkTest, PatienceLastsForSilenceAndForWhatBytesTakeAtTheLeastRate) {
  Patience patience(4, 2 * 64 * 1024);
  EXPECT_EQ(patience.wait_s(), 4);
  EXPECT_THAT(patience.lost().message(), HasSubstr("was silent for 4 s"));
  patience.waited(3);
  EXPECT_EQ(patience.wait_s(), 3) << "of 6";
  EXPECT_THAT(patience.lost().message(), HasSubstr("was slower than 64 KiB/s"));
  patience.waited(3);
  EXPECT_EQ(patience.wait_s(), 0);
  Patience for_ever(kForEver_s, 0);
  for_ever.waited(1e9);
  EXPECT_EQ(for_ever.wait_s(), kForEver_s);
}

TEST_F(WorkerLinkTest, AWorkerThatTricklesIsGivenUp) {
  worker_says([this](Speaker& worker) {
    worker.hear_request(kGetTensor);
    worker.say(bytes_of(4000));
    for (int i = 0; i < 4000 && !stop_.raised_within(0.01) && worker.is_heard({std::byte{1}}); ++i) {
    }
    worker.hears_the_end();
  });
  const auto link = open_link();
  link->set_answer_limit(0.2);
  Speaker ggml = connect(*link);
  ggml.request(kGetTensor, get_request(4000));
  EXPECT_EQ(ggml.hear_answer().size(), 4000u);
  const auto checked = link->check();
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), Code::kUnavailable);
}

TEST_F(WorkerLinkTest, AnAnswerOfTheWrongLengthIsNonsense) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kGetTensor);
    worker.say(Bytes(16, std::byte{0xff}));
    worker.hears_the_end();
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kGetTensor, get_request(8));
  EXPECT_EQ(ggml.hear_answer(), Bytes(8));
  EXPECT_THAT(reason(*link), HasSubstr("answered 18446744073709551615 bytes where 8 were due"));
}

TEST_F(WorkerLinkTest, FiguresThatGgmlCouldNotLiveWithDoNotReachIt) {
  worker_says([](Speaker& worker) {
    worker.hear_request(kAlignmentOf);
    worker.answer(bytes_of(1 << 20));
    worker.hears_the_end();
  });
  EXPECT_FALSE(WorkerAnswers().take(kAlignmentOf, Bytes(4), bytes_of(0)));
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kAlignmentOf, Bytes(4));
  EXPECT_NE(ggml.hear_answer(), bytes_of(1 << 20));
  EXPECT_THAT(reason(*link), HasSubstr("answered what no worker would"));
}

TEST_F(WorkerLinkTest, AWorkerThatTalksUnaskedIsNone) {
  worker_says([](Speaker& worker) {
    worker.say(Bytes(4));
    worker.hears_the_end();
  });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(kDeviceCount, {});
  EXPECT_EQ(ggml.hear_answer().size(), 4u);
  EXPECT_FALSE(link->check());
}

TEST_F(WorkerLinkTest, ACommandNobodyKnowsEndsTheConnection) {
  worker_says([](Speaker& worker) { worker.hears_the_end(); });
  const auto link = open_link();
  Speaker ggml = connect(*link);
  ggml.request(200, Bytes(3));
  EXPECT_TRUE(ggml.hears_the_end());
  EXPECT_THAT(reason(*link), HasSubstr("does not know (200)"));
}

TEST_F(WorkerLinkTest, GreetingFindsAWorker) {
  worker_says([](Speaker& worker) { worker.hears_the_end(); });
  const auto link = open_link();
  const auto greeted = link->greet();
  ASSERT_TRUE(greeted) << greeted.error().message();
  EXPECT_GE(*greeted, 0);
  EXPECT_TRUE(link->check());
}

TEST_F(WorkerLinkTest, GreetingTellsAnotherVersionAndAnotherKindOfServer) {
  worker_of_any_kind([](Speaker& worker) {
    worker.hear_request(kWorkerHello);
    worker.answer(hello_answer(kWorkerProtocolMajor + 1));
    worker.hears_the_end();
  });
  const auto link = open_link();
  const auto other = link->greet();
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kUnsupported);
  EXPECT_THAT(other.error().message(), HasSubstr("install the same llama.cpp on both machines"));
  worker_.join();

  worker_of_any_kind([](Speaker& worker) {
    const std::string web = "HTTP/1.1 400 Bad Request\r\n";
    Bytes bytes(web.size());
    std::memcpy(bytes.data(), web.data(), web.size());
    worker.say(bytes);
    worker.hears_the_end();
  });
  const auto none = link->greet();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Code::kUnavailable);
  EXPECT_THAT(none.error().message(), HasSubstr("is it a ggml-rpc-server?"));
}

TEST_F(WorkerLinkTest, WhenNobodyListensGgmlIsStoodInForFromTheStart) {
  auto link = open_link();
  listener_ = {};
  Speaker ggml = connect(*link);
  ggml.request(kDeviceCount, {});
  EXPECT_EQ(ggml.hear_answer(), Bytes(4));  // none
  EXPECT_THAT(reason(*link), HasSubstr("cannot be reached"));
  link.reset();  // with a connection open
  EXPECT_TRUE(ggml.hears_the_end());
}

}  // namespace
}  // namespace spillway
