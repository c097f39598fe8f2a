// SPDX-License-Identifier: MIT
// The models on this machine's disk, under their names: our own store, GGUF files that were named by path, and what
// other programs downloaded (Ollama's store, Hugging Face's cache, LM Studio's folder: read in place, never written).
// Everything here is metadata; weights are touched only to copy or hash them.
//
// The disk is the truth: each call looks at it anew, so models that come and go meanwhile are seen. What costs time to
// read, a GGUF file's metadata, is kept in memory by the file's identity (device, inode, size, time) and never used for
// another file.
//
// Where one name is in several places, the first of these wins: our store, paths, Ollama's store, Hugging Face's cache,
// LM Studio's folder. Files of the last two are named as Hugging Face has them, and found under every name that asks
// for them there (model/hub_name.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "model/blob_writer.h"
#include "model/model_name.h"

namespace spillway {

class MetadataRoom;

enum class ModelSource { kOwn, kPath, kOllama, kHubCache, kLmStudio };
const char* source_name(ModelSource source);  // "spillway", "path", "ollama", "hugging-face", "lm-studio"

struct ModelDetails {
  std::string parent_model;  // may be empty
  std::string format = "gguf";
  std::string family;  // "llama": the architecture
  std::vector<std::string> families;
  std::string parameter_size;      // "8.0B"
  std::string quantization_level;  // "Q4_K_M"; "unknown" where the file does not say
  uint64_t context_length = 0;     // trained; 0: not said
  uint64_t embedding_length = 0;
};

struct ModelEntry {
  ModelName name;
  std::string digest;       // 64 hex digits: of the manifest; of path, size and time for a file named by path
  std::string weights;      // names the GGUF files alone: models of the same files have the same
  uint64_t size_bytes = 0;  // of all its files
  int64_t modified_ns = 0;  // since 1970, UTC
  ModelDetails details;
  std::vector<std::string> capabilities;  // of completion, embedding, tools, thinking, insert, vision; in this order
  ModelSource source = ModelSource::kOwn;
  std::string path;                             // what Engine::load takes: the GGUF, or the first part of a split one
  std::vector<std::string> adapter_paths = {};  // LoRA adapters that belong to it
  std::string projector_path = {};              // what it sees images with; empty: it sees none
};

struct ModelMessage {
  std::string role, content;
};

// What comes with a model besides its weights. Empty where there is nothing.
struct ModelExtras {
  std::string template_text;      // a template layer (Jinja, or Go's language as Ollama's), else the GGUF's own
  bool template_is_gguf = false;  // it is the GGUF's own
  std::string system;
  std::vector<std::string> licenses;
  std::vector<ModelMessage> messages;
  // Name -> value, or array of values for `stop`: what a Modelfile's PARAMETER lines say.
  nlohmann::ordered_json parameters = nlohmann::ordered_json::object();
  std::string projector_path;                      // of a model that sees; empty
  std::vector<std::string> adapter_paths;          // LoRA
  std::string renderer, parser, requires_version;  // of the config, as Ollama's newer models have them
};

struct TensorSummary {
  std::string name, type;  // "blk.0.attn_q.weight", "Q4_K"
  std::vector<uint64_t> shape;
};

struct ModelDescription {
  ModelEntry entry;
  ModelExtras extras;
  // All metadata of the GGUF but general.name and tokenizer.chat_template. Arrays of more than 5 elements are [] unless
  // verbose was asked for; then, too, where they are larger than any vocabulary. general.parameter_count is always
  // there.
  nlohmann::ordered_json model_info;
  nlohmann::ordered_json projector_info = {};  // the same of its projector; null: it has none that can be read
  // The GGUF's own; and where it has none, its whole vocabulary, which tells what turns the model knows.
  std::string file_template;
  std::vector<std::string> vocabulary;
  std::vector<TensorSummary> tensors;  // only when verbose
  std::string modelfile;               // FROM, TEMPLATE, SYSTEM, PARAMETER, LICENSE lines that make the same model
  std::string parameters_text;         // one "key                            value" line for each parameter
  // Memory that all of this takes as long as it is there: who describes more meanwhile than there is room for waits.
  std::shared_ptr<const MetadataRoom> room = {};
};

// That a model may be stored with, and that are read of one: each request to it renders them all.
inline constexpr size_t kMessagesMax = 1000;

// A new model made of one that exists. What is not given is taken over from `from`.
struct CreateRequest {
  std::string from;                                        // the name of a model; or empty:
  std::vector<std::pair<std::string, std::string>> blobs;  // file name, "sha256:<hex>" of a blob of our store; or:
  std::string gguf_path;                                   // a GGUF on this disk, of a split one the first part
  // LoRA adapters, in place of those that `from` has: GGUF files on this disk, and blobs as above.
  std::vector<std::string> adapter_paths;
  std::vector<std::pair<std::string, std::string>> adapter_blobs;
  // A projector, in place of the one that `from` has: a GGUF file on this disk, "@sha256:<hex>" for a blob of our
  // store, or "none". Empty: the one of `from`, or beside `gguf_path`.
  std::string projector;
  // An empty text takes that of `from` away. A template, without a renderer, takes its renderer's place.
  std::optional<std::string> template_text, system;
  std::optional<std::vector<std::string>> licenses;
  std::optional<std::vector<ModelMessage>> messages;
  nlohmann::ordered_json parameters = nlohmann::ordered_json::object();  // replace those of the same name
  std::optional<std::string> renderer, parser, requires_version;
};

struct TemplateAbilities {
  bool tools = false, thinking = false;
  bool is_known = true;  // false: it could not be looked at now
};

struct CatalogOptions {
  std::string own_folder;                   // made when something is first written; empty: none
  std::vector<std::string> ollama_folders;  // read only; those that do not exist are empty
  std::vector<std::string> paths;           // GGUF files, or folders that are searched for them (not below)
  std::vector<std::string> hub_cache_folders = {}, lm_studio_folders = {};  // read only, as ollama_folders
  std::optional<ModelName> alias = {};  // instead of its file's name, for the one model that `paths` hold

  // Removes, when it is opened, what processes that ended left in own_folder (ModelStore::remove_left_behind), and this
  // user's links to blobs that are gone.
  bool tidies = false;

  // What a chat template can do, for servers that announce it; asked once for each text. Empty: guessed from its words.
  std::function<TemplateAbilities(const std::string& template_text)> read_template = {};

  // SPILLWAY_MODELS, else XDG_DATA_HOME/spillway/models or ~/.local/share/spillway/models; OLLAMA_MODELS, else
  // ~/.ollama/models and /usr/share/ollama/.ollama/models. The others as model/found_models.h says.
  static CatalogOptions from_environment();
};

// The name of the GGUF file at `path` when it is named by path: its own, less ".gguf" and the number of its part.
ModelName name_for_gguf(const std::string& path);

// What an operation is at: "parsing GGUF", "using existing layer sha256:...", "writing manifest", "success".
using StatusSink = std::function<void(const std::string& status)>;

// Thread-safe; also against other processes that use the same folders.
class Catalog {
 public:
  //   InvalidArgument  NotFound   a path among the options that is none; an alias for no model or several
  static Result<std::unique_ptr<Catalog>> open(CatalogOptions options);
  virtual ~Catalog() = default;

  // All models, newest first. A model whose files are missing or damaged is left out, with a notice; one without a GGUF
  // (Ollama has such, for other engines) and files that only stand beside models are left out.
  //   PermissionDenied  Io   our store can not be looked into, and there is nothing elsewhere; a notice where there is
  virtual Result<std::vector<ModelEntry>> list() const = 0;

  //   InvalidArgument   invalid model name
  //   NotFound          "model 'NAME' not found"
  //   Unsupported       it is a file beside a model: a projector, a drafter, ... (describe() shows those, too)
  //   Corrupt  Io       it is there and can not be read
  //   PermissionDenied  Io   our store can not be looked into, and it is not elsewhere
  virtual Result<ModelEntry> find(std::string_view name) const = 0;
  virtual Result<ModelExtras> extras(std::string_view name) const = 0;
  virtual Result<ModelDescription> describe(std::string_view name, bool verbose = false) const = 0;

  // Removes a model of our store, and the blobs that no other one uses. When two calls remove the same one, one of
  // them succeeds.
  //   InvalidArgument  NotFound   as find()
  //   PermissionDenied            it is not ours: another program's, a file that was named by path, another user's
  //   Busy                        another process holds our store for long
  //   Io
  virtual Result<void> remove(std::string_view name) = 0;

  // A second name for the same files; an existing model of our store under `destination` is replaced. What is copied
  // from Ollama's store is linked into ours where the file system can do so, else it stays where it is.
  //   InvalidArgument  NotFound  DiskFull  Io
  virtual Result<void> copy(std::string_view source, std::string_view destination) = 0;

  // Writes a model of our store; an existing one of that name is replaced. What it is made of is looked at before.
  //   InvalidArgument   neither 'from' or 'files' was specified; a digest that is none; a parameter of a wrong type;
  //                     errors of open_adapter_file
  //   NotFound          no such model, blob or file
  //   Corrupt           a file is no GGUF, or not whole; a part is missing
  //   Unsupported       what is to be the model only stands beside one      DiskFull  Io
  virtual Result<void> create(std::string_view name, const CreateRequest& request, const StatusSink& status = {}) = 0;

  // `digest` is "sha256:<64 hex>" (also with '-'). One that is seen to be damaged is not had: sent again, it is mended.
  //   InvalidArgument   anything else
  virtual Result<bool> has_blob(std::string_view digest) const = 0;
  virtual Result<std::unique_ptr<BlobWriter>> write_blob(std::string_view digest) = 0;

  virtual const CatalogOptions& options() const = 0;
};

}  // namespace spillway
