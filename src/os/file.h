// SPDX-License-Identifier: MIT
// A file that is read at offsets and mapped, and what identifies it. The seam between the program and its disk:
// file_posix.cpp is the real one, file_sim.h an in-memory disk with latency and faults.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace spillway {

// What must stay the same while a model is in use.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
  // When anything about the file was last changed, its names and its modification time included, which programs may set
  // (cp -p, tar, rsync). A link to a file that is in use is no other file, so this is not compared.
  int64_t touched_ns = 0;

  friend bool operator==(const FileIdentity& a, const FileIdentity& b) {
    return a.device == b.device && a.inode == b.inode && a.bytes == b.bytes && a.modified_ns == b.modified_ns;
  }
};

// For what is kept of a file when nobody has it open any more: another text where its content is another.
std::string identity_key(const FileIdentity& identity);

// Of what a read by a queue has to be a multiple: `offset`, where it begins in the file and how long it is; `memory`,
// the address it goes to. Powers of two, at most a page.
struct ReadAlignment {
  uint32_t offset = 1, memory = 1;

  friend bool operator==(const ReadAlignment&, const ReadAlignment&) = default;
};

// Thread-safe: every method may be called from any thread. Closed when destroyed.
class File {
 public:
  virtual ~File() = default;

  virtual const std::string& path() const = 0;

  // As of opening.
  virtual const FileIdentity& identity() const = 0;
  uint64_t size_bytes() const { return identity().bytes; }

  // Whether reads by rings bypass the page cache.
  virtual bool is_direct() const = 0;
  // Of such reads; 1 and 1 when they go through the page cache.
  virtual ReadAlignment read_alignment() const = 0;

  // Reads at `offset` until `destination` is full or the file ends; returns the bytes read. Buffered, any alignment.
  //   Io   the message names file, offset and cause
  virtual Result<uint64_t> read_at(uint64_t offset, std::span<std::byte> destination) const = 0;

  // Lets the system begin to read what read_at() will ask for soon.
  virtual void expect_read(uint64_t offset, uint64_t bytes) const { (void)offset, (void)bytes; }

  // Whether the bytes are still those that were opened.
  //   Changed   the file shrank or was written to
  virtual Result<void> check_unchanged() const = 0;

  // Whether its path still leads to it. Where it does not, the bytes that were opened are still there for us.
  //   Changed   another file now stands there, or none
  virtual Result<void> check_in_place() const = 0;

  // Descriptor to map the file from; lives as long as this object.
  virtual int map_fd() const = 0;

  // Descriptor for direct reads (map_fd() where the file system refuses O_DIRECT); -1 for a simulated file.
  virtual int read_fd() const = 0;
};

struct OpenOptions {
  bool direct = true;  // try O_DIRECT; where it is refused, reads are buffered and a notice says so
};

//   NotFound  PermissionDenied  InvalidArgument (a directory, a device)  Io
Result<std::unique_ptr<File>> open_file(const std::string& path, const OpenOptions& options = {});

// Makes the next reads through the page cache come from the disk. What was just written goes there first; pages that
// somebody has mapped stay.
void drop_from_page_cache(const File& file);

// Of the file under `path` now, without opening it.
//   NotFound  PermissionDenied  Io
Result<FileIdentity> identify_file(const std::string& path);

// Replaces `path` by `content`: a reader sees the old bytes or the new ones. Makes the folder, removes killed drafts.
//   PermissionDenied  DiskFull  Io
enum class Readers { kAll, kOwner };
Result<void> replace_file(const std::string& path, std::string_view content, Readers readers = Readers::kAll);

// An empty file that nobody but its owner reads, for somebody else to fill; what was there is gone.
//   PermissionDenied  DiskFull  Io
Result<void> make_private_file(const std::string& path);

// The whole of a small text file.
//   NotFound  PermissionDenied  Io  InvalidArgument (a pipe or a device; more than `bytes_max`)
Result<std::string> read_text_file(const std::string& path, uint64_t bytes_max = 64ull << 20);

// The same for what may well not be there, as in /proc and /sys: empty then.
std::string text_or_empty(const std::string& path);

}  // namespace spillway
