// SPDX-License-Identifier: MIT
// A copy of a GGUF file with something changed: keys, types, tensors more.
#pragma once

#include <ggml.h>
#include <gguf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

namespace spillway {

using ModelChange = std::function<void(gguf_context*)>;

// Gone with this object.
class ChangedModel {
 public:
  ChangedModel(const std::string& of, const ModelChange& change)
      : path_(std::filesystem::temp_directory_path() / ("spillway-changed-" + std::to_string(getpid()) + ".gguf")) {
    ggml_context* data = nullptr;
    gguf_context* whole = gguf_init_from_file(of.c_str(), {.no_alloc = false, .ctx = &data});
    EXPECT_NE(whole, nullptr) << of;
    gguf_context* gguf = gguf_init_empty();
    gguf_set_kv(gguf, whole);
    for (ggml_tensor* tensor = ggml_get_first_tensor(data); tensor != nullptr;
         tensor = ggml_get_next_tensor(data, tensor))
      if (gguf_find_tensor(whole, tensor->name) >= 0) gguf_add_tensor(gguf, tensor);
    change(gguf);
    EXPECT_TRUE(gguf_write_to_file(gguf, path_.c_str(), false));
    gguf_free(whole);
    gguf_free(gguf);
    ggml_free(data);
  }
  ~ChangedModel() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

}  // namespace spillway
