// SPDX-License-Identifier: MIT
#include "engine/projector.h"

#include <fmt/format.h>
#include <mtmd-helper.h>

#include <atomic>
#include <mutex>

#include "backend/llama_call.h"
#include "base/check.h"
#include "base/sha256.h"
#include "engine/confined_image.h"
#include "model/ggml_log.h"

namespace spillway {
namespace {

// An image that comes again after so many others gets another place, and is computed anew.
constexpr size_t kPlacesMax = 4096;
// What libmtmd makes ready for where images have any size.
constexpr uint32_t kTokensMadeReadyFor = 46 * 46;

void capture_mtmd_log() {
  static std::once_flag once;
  std::call_once(once, [] { mtmd_helper_log_set(on_ggml_log, nullptr); });
}

// Never the same in one process: prompts that were kept of one engine are compared with those of the next.
TokenId new_place() {
  static std::atomic<TokenId> last = 0;
  const TokenId place = --last;
  CHECK(place < 0);
  return place;
}

Result<MtmdBitmap> bitmap_of(const std::string& file) {
  ASSIGN_OR_RETURN(const Picture picture, decode_image(file, kImageWorkBytes));
  return MtmdBitmap(
      mtmd_bitmap_init(picture.width, picture.height, reinterpret_cast<const unsigned char*>(picture.points.data())));
}

}  // namespace

Result<std::unique_ptr<Projector>> Projector::load(const ProjectorFile& file, const llama_model* model,
                                                   unsigned n_threads) {
  capture_mtmd_log();
  GgmlErrorCapture log;
  mtmd_context_params params = mtmd_context_params_default();
  params.use_gpu = false;
  params.print_timings = false;
  params.n_threads = static_cast<int>(n_threads);
  params.warmup = true;  // the graph is built and its memory reserved, nothing is computed
  auto rehearsal = std::make_unique<ImageRehearsal>();
  params.cb_eval = ImageRehearsal::on_node;
  params.cb_eval_user_data = rehearsal.get();
  const auto made = call_llama([&] { return mtmd_init_from_file(file.path.c_str(), model, params); });
  if (!made) return Failure(made.error().with_context(file.path));
  MtmdContext context(*made);
  if (context == nullptr)
    return error(Code::kUnsupported,
                 fmt::format("{}: libmtmd does not take it for this model{}", file.path, because(log.first_error())));
  if (!mtmd_support_vision(context.get()))
    return error(Code::kUnsupported, file.path + ": does not see; only images are taken");
  return std::unique_ptr<Projector>(new Projector(file, std::move(rehearsal), std::move(context)));
}

Result<MtmdChunks> Projector::chunks_of(const std::string& file) const {
  GgmlErrorCapture log;
  ASSIGN_OR_RETURN(const MtmdBitmap bitmap, bitmap_of(file));
  MtmdChunks chunks(mtmd_input_chunks_init());
  const char* marker = mtmd_get_marker(context_.get());
  const mtmd_input_text text{
      .text = marker, .text_len = std::char_traits<char>::length(marker), .add_special = false, .parse_special = true};
  const mtmd_bitmap* bitmaps[] = {bitmap.get()};
  // libmtmd throws at sizes that it cannot resize.
  const auto outcome = call_llama([&] { return mtmd_tokenize(context_.get(), chunks.get(), &text, bitmaps, 1); });
  if (!outcome || *outcome != 0)
    return error(Code::kInvalidArgument, fmt::format("the image cannot be made ready for this model{}",
                                                     because(outcome ? log.first_error() : outcome.error().message())));
  return chunks;
}

Result<MtmdChunks> Projector::chunks_in_turn(const std::string& file, Who who) const {
  {
    const MutexLock lock(mutex_);
    if (who == Who::kEncodes) is_wanted_ = true;
    while (is_decoding_ || (is_wanted_ && who == Who::kInspects)) changed_.wait(mutex_);
    if (who == Who::kEncodes) is_wanted_ = false;
    is_decoding_ = true;
  }
  const EndOfTurn end{*this};
  return chunks_of(file);
}

TokenId Projector::place_of(const std::string& digest, uint32_t chunk) const {
  const std::string key = fmt::format("{} {}", digest, chunk);
  if (const auto known = places_.find(key); known != places_.end()) return known->second;
  if (seen_.size() >= kPlacesMax) {
    places_.erase(seen_.front());
    seen_.pop_front();
  }
  seen_.push_back(key);
  return places_[key] = new_place();
}

Result<ImagePrompt> Projector::inspect_image(const std::shared_ptr<const std::string>& file) const {
  const std::string digest = sha256_hex(*file);
  ASSIGN_OR_RETURN(const MtmdChunks chunks, chunks_in_turn(*file, Who::kInspects));
  const MutexLock lock(mutex_);
  ImagePrompt prompt;
  for (uint32_t c = 0; c < mtmd_input_chunks_size(chunks.get()); ++c) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks.get(), c);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
      size_t n = 0;
      const llama_token* tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
      prompt.tokens.insert(prompt.tokens.end(), tokens, tokens + n);
      continue;
    }
    const auto image = std::make_shared<PromptImage>();
    image->n_tokens = static_cast<uint32_t>(mtmd_input_chunk_get_n_tokens(chunk));
    image->n_positions = static_cast<uint32_t>(mtmd_input_chunk_get_n_pos(chunk));
    if (image->n_tokens == 0 || image->n_positions == 0)
      return error(Code::kInvalidArgument, "the image is too small for this model");
    image->place = place_of(digest, c);
    image->file = file;
    image->digest = digest;
    image->chunk = c;
    prompt.tokens.insert(prompt.tokens.end(), image->n_positions, image->place);
    prompt.images.emplace(image->place, image);
  }
  return prompt;
}

Result<Projector::Encoded> Projector::encode(const PromptImage& image, const std::atomic<bool>& stop) {
  if (encoded_ == nullptr || encoded_digest_ != image.digest) {
    forget();
    ASSIGN_OR_RETURN(encoded_, chunks_in_turn(*image.file, Who::kEncodes));
    encoded_digest_ = image.digest;
  }
  CHECK(image.chunk < mtmd_input_chunks_size(encoded_.get()));
  const mtmd_input_chunk* chunk = mtmd_input_chunks_get(encoded_.get(), image.chunk);
  RETURN_IF_ERROR(rehearsal_->compute([&] { return mtmd_encode_chunk(context_.get(), chunk); }, stop));
  return Encoded{.chunk = chunk, .embeddings = mtmd_get_output_embd(context_.get())};
}

void Projector::forget() {
  encoded_.reset();
  encoded_digest_.clear();
}

uint64_t Projector::growth_bytes(const PromptImage& image) const {
  if (image.n_tokens <= kTokensMadeReadyFor) return 0;
  return file_.compute_bytes / kTokensMadeReadyFor * (image.n_tokens - kTokensMadeReadyFor);
}

}  // namespace spillway
