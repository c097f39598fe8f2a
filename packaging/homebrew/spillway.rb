# A Homebrew formula, for Linux. To install from a checkout of this repository:
#
#   brew install --formula --HEAD packaging/homebrew/spillway.rb
class Spillway < Formula
  desc "Runs language models that are larger than the memory of the machine"
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"
  license "MIT"

  depends_on "boost" => :build # headers only
  depends_on "cli11" => :build
  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "node" => :build
  depends_on "pkgconf" => :build
  depends_on "tl-expected" => :build
  depends_on "brotli"
  depends_on "curl"
  depends_on "fmt"
  depends_on "liburing"
  depends_on :linux
  depends_on "llama.cpp"
  depends_on "nlohmann-json"
  depends_on "openssl@3"
  depends_on "quickjs-ng"
  depends_on "spdlog"
  depends_on "webp"
  depends_on "zlib"
  depends_on "zstd"

  def install
    system "scripts/setup"
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DSPILLWAY_TESTS=OFF", *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build"
  end

  service do
    run [opt_bin/"spillway", "serve"]
    keep_alive successful_exit: false
    log_path var/"log/spillway.log"
    error_log_path var/"log/spillway.log"
  end

  test do
    answer = shell_output("#{bin}/spillway run #{share}/spillway/brook.gguf --prompt 'What does Oda do?' --temp 0")
    assert_match "miller", answer
  end
end
