// SPDX-License-Identifier: MIT
#include "engine/image_bombs.h"

#include <zlib.h>

#include <vector>

namespace spillway {
namespace {

std::string big_endian(uint64_t value, size_t n_bytes) {
  std::string bytes;
  for (size_t i = n_bytes; i-- > 0;) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string png_chunk(const std::string& type, const std::string& content) {
  const std::string checked = type + content;
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian(content.size(), 4) + checked + big_endian(sum, 4);
}

std::string deflated_zeros(uint64_t bytes) {
  z_stream stream{};
  deflateInit(&stream, Z_BEST_COMPRESSION);
  std::string piece(1 << 20, '\0'), out, room(1 << 16, '\0');
  while (bytes > 0 || stream.avail_in > 0 || stream.avail_out == 0) {
    if (stream.avail_in == 0 && bytes > 0) {
      stream.next_in = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_in = static_cast<uInt>(std::min<uint64_t>(bytes, piece.size()));
      bytes -= stream.avail_in;
    }
    stream.next_out = reinterpret_cast<Bytef*>(room.data());
    stream.avail_out = static_cast<uInt>(room.size());
    deflate(&stream, bytes == 0 ? Z_FINISH : Z_NO_FLUSH);
    out.append(room, 0, room.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return out;
}

std::string jpeg_segment(char marker, const std::string& content) {
  return std::string{'\xFF', marker} + big_endian(content.size() + 2, 2) + content;
}

// Bits, the first one on top of each byte; ones fill the last byte, and no marker can be in it.
std::string jpeg_bits(const std::string& bits) {
  std::string bytes;
  for (size_t i = 0; i < bits.size(); i += 8) {
    std::string byte = bits.substr(i, 8);
    byte.resize(8, '1');
    bytes += static_cast<char>(std::stoi(byte, nullptr, 2));
    if (bytes.back() == '\xFF') bytes += '\0';
  }
  return bytes;
}

// Bits, the first one at the bottom of each byte.
class BitWriter {
 public:
  void put(uint32_t value, int n_bits) {
    for (int i = 0; i < n_bits; ++i, ++n_) {
      if (n_ % 8 == 0) bytes_ += '\0';
      bytes_.back() = static_cast<char>(bytes_.back() | ((value >> i & 1) << n_ % 8));
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  size_t n_ = 0;
};

// A prefix code of one symbol, 0, which takes no bits.
void put_simple_code(BitWriter& out) { out.put(0b0001, 4); }

// One of 256 symbols of eight bits each, of an alphabet that may be larger.
void put_byte_code(BitWriter& out, int n_symbols) {
  constexpr int kPlaceOfZero = 2, kPlaceOfEight = 11;  // in the order in which lengths of lengths come
  out.put(0, 1);
  out.put(kPlaceOfEight + 1 - 4, 4);
  for (int place = 0; place <= kPlaceOfEight; ++place)
    out.put(place == kPlaceOfZero || place == kPlaceOfEight ? 1 : 0, 3);
  out.put(0, 1);  // no count of lengths: all of them
  for (int symbol = 0; symbol < n_symbols; ++symbol) out.put(symbol < 256 ? 1 : 0, 1);
}

void put_byte(BitWriter& out, uint32_t byte) {
  for (int i = 7; i >= 0; --i) out.put(byte >> i, 1);
}

}  // namespace

std::string png_of_zeros(uint32_t width, uint32_t height, uint64_t inflated_bytes) {
  const std::string header = big_endian(width, 4) + big_endian(height, 4) + std::string("\x08\x02\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", deflated_zeros(inflated_bytes)) +
         png_chunk("IEND", "");
}

std::string jpeg_of_scans(uint16_t width, uint16_t height, size_t n_scans) {
  const size_t n_blocks = (size_t{width} + 7) / 8 * ((size_t{height} + 7) / 8);
  // Each table has one code, of one bit: no difference, and "all of the next 32,767 blocks end here".
  const std::string one_code = '\x01' + std::string(15, '\0');
  std::string file =
      "\xFF\xD8" + jpeg_segment('\xDB', '\0' + std::string(64, '\x01')) +
      jpeg_segment('\xC2', '\x08' + big_endian(height, 2) + big_endian(width, 2) + std::string("\x01\x01\x11\0", 4)) +
      jpeg_segment('\xC4', '\0' + one_code + '\0') + jpeg_segment('\xC4', '\x10' + one_code + '\xE0') +
      jpeg_segment('\xDA', std::string("\x01\x01\0\0\0\0", 6)) + jpeg_bits(std::string(n_blocks, '0'));
  std::string ends;
  for (size_t n = 0; n < n_blocks; n += 32767) ends += "0" + std::string(14, '1');
  const std::string scan = jpeg_segment('\xDA', std::string("\x01\x01\0\x01\x3F\0", 6)) + jpeg_bits(ends);
  for (size_t n = 1; n < n_scans; ++n) file += scan;
  return file + "\xFF\xD9";
}

std::string webp_of_prefix_codes(uint32_t width, uint32_t height) {
  BitWriter out;
  out.put(0x2F, 8);
  out.put(width - 1, 14);
  out.put(height - 1, 14);
  out.put(0, 1 + 3);  // no alpha, version 0
  out.put(0, 1 + 1);  // no transform, no cache of colours
  out.put(1, 1);
  out.put(0, 3);  // blocks of 4 x 4
  // Which set of codes each block has, as red and green of an image.
  const uint32_t n_blocks = (width + 3) / 4 * ((height + 3) / 4);
  out.put(0, 1);
  put_byte_code(out, 256 + 24);
  put_byte_code(out, 256);
  for (int i = 0; i < 3; ++i) put_simple_code(out);
  for (uint32_t block = 0; block < n_blocks; ++block) {
    put_byte(out, block & 0xFF);
    put_byte(out, block >> 8 & 0xFF);
  }
  for (uint32_t block = 0; block < n_blocks; ++block)
    for (int i = 0; i < 5; ++i) put_simple_code(out);
  std::string content = out.bytes() + std::string(8, '\0');
  content.resize((content.size() + 1) / 2 * 2);
  const auto little_endian = [](size_t value) {
    std::string bytes = big_endian(value, 4);
    return std::string(bytes.rbegin(), bytes.rend());
  };
  const std::string chunk = "WEBPVP8L" + little_endian(content.size()) + content;
  return "RIFF" + little_endian(chunk.size()) + chunk;
}

}  // namespace spillway
