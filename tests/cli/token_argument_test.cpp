// SPDX-License-Identifier: MIT
#include "cli/bench/token_argument.h"

#include <gmock/gmock.h>

#include <vector>

#include "cli/text_input.h"

namespace spillway {
namespace {

TEST(TokenArgument, IsReadBackWhateverItsLengthAndIsNeverLongerThanTheKernelTakes) {
  for (const size_t n : {0, 4, 100000}) {
    std::vector<TokenId> ids(n);
    for (size_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>(30000 + i % 1000);
    const auto argument = TokenArgument::make(ids);
    ASSERT_TRUE(argument) << argument.error().message();
    EXPECT_LT(argument->word().size(), 128u << 10);
    const auto read = read_token_ids(argument->word());
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, ids);
  }
}

}  // namespace
}  // namespace spillway
