// SPDX-License-Identifier: MIT
// Writes a folder of models as Ollama does, in plain calls and not through the code under test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "gguf_bytes.h"

namespace spillway {

inline void write_file(const std::string& path, std::string_view content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

class StoreFolder {
 public:
  struct Part {
    std::string kind;  // "model", "template", ...
    std::string content;
  };

  explicit StoreFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string blob_path(std::string_view content) const { return path_ + "/blobs/sha256-" + sha256_hex(content); }
  std::string manifest_path(const std::string& name) const { return path_ + "/manifests/" + name; }

  void blob(std::string_view content) const { write_file(blob_path(content), content); }

  // `name`: "registry.ollama.ai/library/llama3.2/latest".
  void model(const std::string& name, const std::vector<Part>& parts,
             const std::string& config = R"({"model_format":"gguf"})") const {
    std::string layers;
    for (const Part& part : parts) {
      blob(part.content);
      layers += (layers.empty() ? "" : ",") + layer("application/vnd.ollama.image." + part.kind, part.content);
    }
    blob(config);
    write_file(manifest_path(name), R"({"schemaVersion":2,"config":)" +
                                        layer("application/vnd.docker.container.image.v1+json", config) +
                                        R"(,"layers":[)" + layers + "]}");
  }

  static std::string layer(const std::string& media_type, std::string_view content) {
    return R"({"mediaType":")" + media_type + R"(","digest":"sha256:)" + sha256_hex(content) + R"(","size":)" +
           std::to_string(content.size()) + "}";
  }

 private:
  std::string path_;
};

// Every file below `folder`, relative to it, sorted.
inline std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  if (!std::filesystem::exists(folder)) return files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (!entry.is_directory()) files.push_back(std::filesystem::relative(entry.path(), folder).string());
  std::sort(files.begin(), files.end());
  return files;
}

// A language model of 2 layers with a chat template.
inline GgufBytes chat_model(const std::string& chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}",
                            const std::string& name = "Small") {
  GgufBytes model;
  model.key("general.architecture", "llama")
      .key("general.name", name)
      .key_u32("general.file_type", 15)
      .key_u32("llama.context_length", 4096)
      .key_u32("llama.embedding_length", 32)
      .key_f32("llama.attention.layer_norm_rms_epsilon", 1e-6f)
      .key_strings("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e", "f"})
      .key_u32s("tokenizer.ggml.token_type", {1, 1, 3})
      .tensor({"token_embd.weight", {32, 64}, 8})
      .tensor({"blk.0.attn_q.weight", {32, 32}, 8});
  if (!chat_template.empty()) model.key("tokenizer.chat_template", chat_template);
  return model;
}

// A projector of images, or of sound, as far as its header says it.
inline GgufBytes projector_gguf(bool sees = true) {
  GgufBytes projector;
  projector.key("general.architecture", "clip")
      .key("general.type", "mmproj")
      .key("clip.projector_type", "gemma3")
      .key_bool(sees ? "clip.has_vision_encoder" : "clip.has_audio_encoder", true)
      .tensor({"v.patch_embd.weight", {32, 32}});
  return projector;
}

}  // namespace spillway
