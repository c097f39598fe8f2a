// SPDX-License-Identifier: MIT
// The part of a model that sees: libmtmd with a projector, beside a language model of libllama's. It stays in memory.
//
// Threads: inspect_image() from any; encode() and what it leaves from the decode thread. One image at a time is decoded
// and made ready, for all threads together: so much memory was counted. Lifetime: the model outlives it.
#pragma once

#include <llama.h>
#include <mtmd.h>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/image_rehearsal.h"
#include "engine/mtmd_handles.h"
#include "engine/prompt_image.h"
#include "model/projector_file.h"

namespace spillway {

class Projector {
 public:
  //   Unsupported   libmtmd does not take it, or it is for a model of another width; the message says which
  static Result<std::unique_ptr<Projector>> load(const ProjectorFile& file, const llama_model* model,
                                                 unsigned n_threads);

  // What stands for the image in a prompt. It is decoded to see whether it can be, and not kept.
  // One file at a time is decoded, and encode() is next: the decode thread waits for one of them at most.
  //   errors of decode_image()
  Result<ImagePrompt> inspect_image(const std::shared_ptr<const std::string>& file) const EXCLUDES(mutex_);

  // What the model is given for it, until the next call.
  struct Encoded {
    const mtmd_input_chunk* chunk = nullptr;
    float* embeddings = nullptr;  // [n_tokens][n_embd]
  };
  //   InvalidArgument   as above      Unsupported  Internal  Cancelled   as ImageRehearsal::compute()
  Result<Encoded> encode(const PromptImage& image, const std::atomic<bool>& stop) EXCLUDES(mutex_);
  // Gives back what encode() keeps of the image.
  void forget();

  // Beyond what was made ready for when it was loaded, for an image of so many tokens.
  uint64_t growth_bytes(const PromptImage& image) const;

  const ProjectorFile& file() const { return file_; }
  mtmd_context* context() const { return context_.get(); }
  // An image is computed as a whole: each of its tokens sees the later ones.
  bool sees_whole_images() const { return mtmd_decode_use_non_causal(context_.get(), nullptr); }
  bool has_positions_in_two_dimensions() const { return mtmd_decode_use_mrope(context_.get()); }

 private:
  Projector(ProjectorFile file, std::unique_ptr<ImageRehearsal> rehearsal, MtmdContext context)
      : file_(std::move(file)), rehearsal_(std::move(rehearsal)), context_(std::move(context)) {}
  enum class Who { kInspects, kEncodes };
  Result<MtmdChunks> chunks_in_turn(const std::string& file, Who who) const EXCLUDES(mutex_);
  Result<MtmdChunks> chunks_of(const std::string& file) const;
  struct EndOfTurn {
    const Projector& projector;
    ~EndOfTurn() {
      const MutexLock lock(projector.mutex_);
      projector.is_decoding_ = false;
      projector.changed_.notify_all();
    }
  };
  TokenId place_of(const std::string& digest, uint32_t chunk) const REQUIRES(mutex_);

  const ProjectorFile file_;
  const std::unique_ptr<ImageRehearsal> rehearsal_;  // libmtmd calls it
  const MtmdContext context_;
  mutable Mutex mutex_;
  mutable CondVar changed_;
  mutable bool is_decoding_ GUARDED_BY(mutex_) = false, is_wanted_ GUARDED_BY(mutex_) = false;  // by encode()
  // Places of images that were seen lately.
  mutable std::map<std::string, TokenId> places_ GUARDED_BY(mutex_);
  mutable std::deque<std::string> seen_ GUARDED_BY(mutex_);

  // The decode thread's: what it computes, all parts of one file.
  MtmdChunks encoded_;
  std::string encoded_digest_;
};

}  // namespace spillway
