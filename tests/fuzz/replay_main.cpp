// SPDX-License-Identifier: MIT
// A fuzz target without libFuzzer: runs it on each file of a folder, and on as many changed ones as asked for and as
// the time allows, in the same order each time. What finds a fault is left in the file "replay-fault" of the working
// folder.
//
//   NAME_replay FOLDER ROUNDS [SECONDS]      at least so many, and for at least so long
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes);
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t bytes, size_t bytes_max,
                                                                unsigned seed);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max);

// AddressSanitizer asks for it: libcrypto keeps what its first call made.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcrypto.so"; }  // NOLINT: its name

namespace {

constexpr size_t kBytesMax = 4096;

std::mt19937 g_random(20260807);  // NOLINT: LLVMFuzzerMutate() has no other way to it
std::vector<std::string> g_seeds;

size_t below(size_t n) { return n == 0 ? 0 : g_random() % n; }

// What parsers stumble over.
std::string odd_piece() {
  static const std::vector<std::string> kPieces = {"{",      "}",
                                                   "[",      "]",
                                                   "\"",     "\\",
                                                   ":",      ",",
                                                   "null",   "true",
                                                   "-1",     "0",
                                                   "1e999",  "-0.5",
                                                   "\n",     "\xff",
                                                   "\xc3",   "\\u",
                                                   "/",      "../",
                                                   "..",     "\0",
                                                   "\"\"",   "{}",
                                                   "[]",     "18446744073709551616",
                                                   "é",      "\\ud800",
                                                   "<|",     "|>",
                                                   "$ref",   "#/",
                                                   "\"\"\"", "-9223372036854775808"};
  return kPieces[below(kPieces.size())];
}

std::string changed(std::string text) {
  const size_t at = below(text.size() + 1), length = below(std::min<size_t>(text.size() - at, 40) + 1);
  switch (below(7)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(g_random());
      return text;
    case 1:
      return text.erase(at, length);
    case 2:
      return text.insert(at, odd_piece());
    case 3:
      return text.insert(below(text.size() + 1), text.substr(at, length));
    case 4:
      return text.replace(at, length, odd_piece());
    case 5: {
      std::string many;
      const std::string piece = odd_piece();
      for (size_t n = below(200); n > 0; --n) many += piece;
      return text.insert(at, many);
    }
    default: {  // the rest of another one
      const std::string& other = g_seeds[below(g_seeds.size())];
      return text.substr(0, at) + other.substr(below(other.size() + 1));
    }
  }
}

std::string g_current;  // the input that is being run, for whoever aborts

void keep_current() {
  std::ofstream("replay-fault", std::ios::binary) << g_current;
  std::fprintf(stderr, "a fault; its input (%zu bytes) is in ./replay-fault\n", g_current.size());
}

void run(const std::string& input) {
  g_current = input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::string next_input() {
  std::string input = g_seeds[below(g_seeds.size())];
  if (LLVMFuzzerCustomMutator != nullptr) {
    input.resize(std::min(input.size(), kBytesMax));
    const size_t bytes = input.size();
    input.resize(kBytesMax);
    const size_t now = LLVMFuzzerCustomMutator(reinterpret_cast<uint8_t*>(input.data()), bytes, kBytesMax,
                                               static_cast<unsigned>(g_random()));
    input.resize(now);
    return input;
  }
  for (size_t n = 1 + below(4); n > 0; --n) input = changed(std::move(input));
  return input;
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max) {
  const std::string text = changed({reinterpret_cast<const char*>(data), bytes});
  const size_t now = std::min(text.size(), bytes_max);
  std::memcpy(data, text.data(), now);
  return now;
}

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: %s FOLDER ROUNDS [SECONDS]\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(argv[1])) files.push_back(file.path());
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    g_seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (g_seeds.empty()) {
    std::fprintf(stderr, "%s: no files\n", argv[1]);
    return 2;
  }
  std::signal(SIGABRT, [](int) { keep_current(); });
  std::signal(SIGSEGV, [](int) {
    keep_current();
    std::_Exit(1);
  });
  for (const std::string& seed : g_seeds) run(seed);
  const long rounds = std::strtol(argv[2], nullptr, 10);
  const std::chrono::seconds time(argc == 4 ? std::strtol(argv[3], nullptr, 10) : 0);
  const auto begin = std::chrono::steady_clock::now();
  long done = 0;
  for (; done < rounds || std::chrono::steady_clock::now() - begin < time; ++done) run(next_input());
  std::printf("%zu files and %ld changed ones\n", g_seeds.size(), done);
  return 0;
}
