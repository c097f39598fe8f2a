// SPDX-License-Identifier: MIT
#include "serve/web_body.h"

#include <brotli/decode.h>
#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace spillway {
namespace {

constexpr size_t kDecodedPieceBytes = 64u << 10;
// Of what a frame asks to be remembered while it is read; what is larger is no text of 64 MiB.
constexpr int kZstdWindowLogMax = 27;

Failure damaged() {
  return error(Code::kInvalidArgument, "the request body did not come whole, or is not as its Content-Encoding says");
}

// What decoding has given so far, within its bounds.
class Output {
 public:
  Output(uint64_t bytes_max, const std::function<bool(uint64_t)>& may_take)
      : bytes_max_(bytes_max), may_take_(may_take), piece_(kDecodedPieceBytes) {}

  unsigned char* piece() { return piece_.data(); }
  Result<void> take(size_t bytes) {
    if (bytes > bytes_max_ - text_.size())
      return error(Code::kOutOfBudget, fmt::format("the request body is larger than {} bytes", bytes_max_));
    if (!may_take_(bytes)) return error(Code::kBusy, "too many large requests at once");
    text_.append(reinterpret_cast<const char*>(piece_.data()), bytes);
    return {};
  }
  std::string text() { return std::move(text_); }

 private:
  const uint64_t bytes_max_;
  const std::function<bool(uint64_t)>& may_take_;
  std::vector<unsigned char> piece_;
  std::string text_;
};

Result<void> inflate_into(Output& out, const std::string& body, bool gzip) {
  // deflate is zlib's format by the standard, and bare in some clients: told by its first two bytes.
  const auto byte = [&](size_t i) { return i < body.size() ? static_cast<unsigned char>(body[i]) : 0u; };
  const bool zlib = (byte(0) & 0x0fu) == 8 && (byte(0) * 256 + byte(1)) % 31 == 0;
  z_stream stream{};
  if (inflateInit2(&stream, gzip ? 16 + MAX_WBITS : zlib ? MAX_WBITS : -MAX_WBITS) != Z_OK)
    return error(Code::kBusy, "no memory to decompress with");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> owner(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  for (int outcome = Z_OK; outcome != Z_STREAM_END;) {
    stream.next_out = out.piece();
    stream.avail_out = kDecodedPieceBytes;
    outcome = inflate(&stream, Z_NO_FLUSH);
    if (outcome != Z_OK && outcome != Z_STREAM_END) return damaged();
    RETURN_IF_ERROR(out.take(kDecodedPieceBytes - stream.avail_out));
  }
  return stream.avail_in == 0 ? Result<void>() : damaged();
}

Result<void> unbrotli_into(Output& out, const std::string& body) {
  const std::unique_ptr<BrotliDecoderState, void (*)(BrotliDecoderState*)> state(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), BrotliDecoderDestroyInstance);
  if (state == nullptr) return error(Code::kBusy, "no memory to decompress with");
  const auto* in = reinterpret_cast<const uint8_t*>(body.data());
  size_t in_left = body.size();
  for (;;) {
    uint8_t* to = out.piece();
    size_t to_left = kDecodedPieceBytes;
    const auto outcome = BrotliDecoderDecompressStream(state.get(), &in_left, &in, &to_left, &to, nullptr);
    if (outcome == BROTLI_DECODER_RESULT_ERROR) return damaged();
    RETURN_IF_ERROR(out.take(kDecodedPieceBytes - to_left));
    if (outcome == BROTLI_DECODER_RESULT_SUCCESS) return in_left == 0 ? Result<void>() : damaged();
    if (outcome == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) return damaged();
  }
}

Result<void> unzstd_into(Output& out, const std::string& body) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (context == nullptr) return error(Code::kBusy, "no memory to decompress with");
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kZstdWindowLogMax);
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  size_t left = 1;  // of a frame that has begun
  while (in.pos < in.size || left > 0) {
    ZSTD_outBuffer piece{out.piece(), kDecodedPieceBytes, 0};
    const size_t before = in.pos;
    left = ZSTD_decompressStream(context.get(), &piece, &in);
    if (ZSTD_isError(left) != 0) return damaged();
    RETURN_IF_ERROR(out.take(piece.pos));
    if (in.pos == in.size && left > 0 && piece.pos < kDecodedPieceBytes) return damaged();
    if (in.pos == before && piece.pos == 0 && left > 0) return damaged();
  }
  return {};
}

}  // namespace

bool is_known_encoding(std::string_view encoding) {
  for (const char* known : {"", "identity", "gzip", "x-gzip", "deflate", "br", "zstd"})
    if (encoding == known) return true;
  return false;
}

Result<std::string> decode_body(std::string_view encoding, std::string body, uint64_t bytes_max,
                                const std::function<bool(uint64_t)>& may_take) {
  if (encoding.empty() || encoding == "identity") return body;
  Output out(bytes_max, may_take);
  if (encoding == "br") {
    RETURN_IF_ERROR(unbrotli_into(out, body));
  } else if (encoding == "zstd") {
    RETURN_IF_ERROR(unzstd_into(out, body));
  } else {
    RETURN_IF_ERROR(inflate_into(out, body, encoding.ends_with("gzip")));
  }
  return out.text();
}

}  // namespace spillway
