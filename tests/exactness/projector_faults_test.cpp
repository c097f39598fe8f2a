// SPDX-License-Identifier: MIT
// Projectors whose figures, types or shapes do not go together: libmtmd and ggml would end the process at them, while
// they load or in the middle of an image. Each is an error of its own load or image, or computes; each runs in a child
// process, so that one that ends it is named.
#include <fmt/format.h>
#include <ggml.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/projector_writer.h"
#include "model/gguf_model.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

struct TensorForm {
  ggml_type type = GGML_TYPE_F32;
  std::vector<int64_t> shape = {};  // empty: it is left out
};

struct Fault {
  std::string name;
  std::function<void(gguf_context*)> change_keys = {};
  std::string tensor = {};  // has `form` instead of its own
  TensorForm form = {};
};

// A copy of a projector with a fault. Values of a tensor that changed are small numbers in whatever form.
bool write_faulty(const std::string& of, const std::string& to, const Fault& fault) {
  ggml_context* data = nullptr;
  gguf_context* whole = gguf_init_from_file(of.c_str(), {.no_alloc = false, .ctx = &data});
  if (whole == nullptr) return false;
  ggml_context* more = ggml_init({.mem_size = 64u << 20, .mem_buffer = nullptr, .no_alloc = false});
  gguf_context* gguf = gguf_init_empty();
  gguf_set_kv(gguf, whole);
  for (int64_t i = 0; i < gguf_get_n_tensors(whole); ++i) {
    const char* name = gguf_get_tensor_name(whole, i);
    ggml_tensor* tensor = ggml_get_tensor(data, name);
    if (fault.tensor == name) {
      if (fault.form.shape.empty()) continue;
      tensor =
          ggml_new_tensor(more, fault.form.type, static_cast<int>(fault.form.shape.size()), fault.form.shape.data());
      std::memset(tensor->data, 0, ggml_nbytes(tensor));
      ggml_set_name(tensor, name);
    }
    gguf_add_tensor(gguf, tensor);
  }
  if (fault.change_keys) fault.change_keys(gguf);
  const bool written = gguf_write_to_file(gguf, to.c_str(), false);
  gguf_free(whole);
  gguf_free(gguf);
  ggml_free(data);
  ggml_free(more);
  return written;
}

LoadOptions options_for(const std::string& model, const std::string& projector) {
  LoadOptions load;
  load.path = model;
  load.projector_path = projector;
  load.mode = Mode::kResident;
  load.kernels = Kernels::kPlain;
  load.weights_bytes = 2 * std::filesystem::file_size(model);
  load.n_ctx = 512;
  load.n_ubatch = 256;
  load.n_threads = 2;
  load.measure_compute = load.keep_heat = false;
  return load;
}

// What becomes of an image: "computed", or the error.
std::string outcome_of(const std::string& model, const std::string& projector) {
  const auto engine = Engine::load(options_for(model, projector));
  if (!engine) return "load: " + engine.error().message();
  const auto seen = (*engine)->inspect_image(std::make_shared<const std::string>(bmp_picture(200, 120, 1)));
  if (!seen) return "image: " + seen.error().message();
  for (const auto& [place, image] : seen->images)
    if (const auto outcome = (*engine)->decode_image(*image, 0, 0); !outcome)
      return "pass: " + outcome.error().message();
  return "computed";
}

// The same in a child; "died of signal 6" where it did.
std::string outcome_in_a_child(const std::string& model, const std::string& projector) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(60);  // so long is a hang
    const std::string outcome = outcome_of(model, projector);
    _exit(::write(ends[1], outcome.data(), outcome.size()) < 0 ? 1 : 0);
  }
  ::close(ends[1]);
  std::string outcome;
  char piece[512];
  for (ssize_t n = 0; (n = ::read(ends[0], piece, sizeof piece)) > 0;) outcome.append(piece, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "died of signal " + std::to_string(WTERMSIG(status));
  return outcome;
}

struct Kind {
  const char* name;
  ProjectorShape shape;
  const char* model;  // below the tests' models
};

constexpr Kind kLlava{"Llava", ProjectorShape::kLlava, "quantized/dense-Q8_0.gguf"};
constexpr Kind kGemma3{"Gemma3", ProjectorShape::kGemma3, "quantized/tiny-gemma3.gguf"};
constexpr Kind kQwen2Vl{"Qwen2Vl", ProjectorShape::kQwen2Vl, "archs/qwen2vl-dense.gguf"};

// The slow test tries all of them, the others one of so many.
size_t one_of() { return std::getenv("SPILLWAY_ALL_FAULTS") != nullptr ? 1 : 23; }

class ProjectorFaults : public testing::TestWithParam<Kind> {
 protected:
  const TempFolder folder_;
  const std::string model_ = std::string(SPILLWAY_TEST_MODELS) + "/" + GetParam().model;
  const std::string whole_ = folder_.path() + "/whole.gguf", faulty_ = folder_.path() + "/faulty.gguf";

  void SetUp() override {
    const auto model = open_gguf_model(model_, {.direct = false});
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(write_projector(whole_, {.shape = GetParam().shape,
                                         .n_embd_text = static_cast<uint32_t>(model->n_embd),
                                         .image_size = 128,
                                         .patch_size = 32}));
  }

  std::string outcome(const Fault& fault) const {
    EXPECT_TRUE(write_faulty(whole_, faulty_, fault)) << fault.name;
    return outcome_in_a_child(model_, faulty_);
  }
  void expect_survived(const Fault& fault) {
    if (n_faults_++ % one_of() != 0) return;
    const std::string seen = outcome(fault);
    EXPECT_FALSE(seen.empty() || seen.starts_with("died")) << fault.name << ": " << seen;
  }

  std::vector<std::string> keys() const {
    std::vector<std::string> all;
    gguf_context* gguf = gguf_init_from_file(whole_.c_str(), {.no_alloc = true, .ctx = nullptr});
    for (int64_t i = 0; i < gguf_get_n_kv(gguf); ++i) all.emplace_back(gguf_get_key(gguf, i));
    gguf_free(gguf);
    return all;
  }
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors() const {
    std::vector<std::pair<std::string, std::vector<int64_t>>> all;
    ggml_context* data = nullptr;
    gguf_context* gguf = gguf_init_from_file(whole_.c_str(), {.no_alloc = true, .ctx = &data});
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); ++i) {
      const ggml_tensor* tensor = ggml_get_tensor(data, gguf_get_tensor_name(gguf, i));
      all.push_back({tensor->name, {tensor->ne, tensor->ne + ggml_n_dims(tensor)}});
    }
    gguf_free(gguf);
    ggml_free(data);
    return all;
  }

 private:
  size_t n_faults_ = 0;
};

TEST_P(ProjectorFaults, AWholeOneComputes) { EXPECT_EQ(outcome({.name = "none"}), "computed"); }

TEST_P(ProjectorFaults, FiguresEndNothing) {
  std::vector<std::string> all = keys();
  for (const char* more :
       {"spatial_merge_size", "window_size", "n_wa_pattern", "projector.scale_factor", "image_min_pixels",
        "image_max_pixels", "feature_layer", "image_grid_pinpoints", "wa_layer_indexes", "preproc_image_size"})
    all.emplace_back(std::string("clip.vision.") + more);
  for (const std::string& key : all) {
    if (key.starts_with("general.")) continue;
    const auto with = [&](const std::string& name, const std::function<void(gguf_context*)>& change) {
      expect_survived({.name = fmt::format("{} {}", key, name), .change_keys = change});
    };
    for (const uint32_t value : {0u, 1u, 3u, 7u, 1000u, 65536u, 0x7fffffffu, 0xffffffffu})
      with(std::to_string(value), [&](gguf_context* gguf) { gguf_set_val_u32(gguf, key.c_str(), value); });
    for (const float value : {0.0f, -1.0f, 1e30f, std::numeric_limits<float>::quiet_NaN()})
      with(std::to_string(value), [&](gguf_context* gguf) { gguf_set_val_f32(gguf, key.c_str(), value); });
    for (const size_t n : {0, 1, 2, 100})
      with(fmt::format("of {} numbers", n), [&](gguf_context* gguf) {
        const std::vector<int32_t> values(n, 1'000'000);
        gguf_set_arr_data(gguf, key.c_str(), GGUF_TYPE_INT32, values.data(), n);
      });
    with("a text", [&](gguf_context* gguf) { gguf_set_val_str(gguf, key.c_str(), "text"); });
    with("left out", [&](gguf_context* gguf) { gguf_remove_key(gguf, key.c_str()); });
  }
}

TEST_P(ProjectorFaults, TypesEndNothing) {
  for (const auto& [name, shape] : tensors())
    for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q8_1,
                                 GGML_TYPE_I32, GGML_TYPE_I8, GGML_TYPE_F64})
      if (shape[0] % ggml_blck_size(type) == 0)
        expect_survived({.name = fmt::format("{} in {}", name, ggml_type_name(type)),
                         .tensor = name,
                         .form = {.type = type, .shape = shape}});
}

TEST_P(ProjectorFaults, ShapesEndNothing) {
  for (const auto& [name, shape] : tensors()) {
    expect_survived({.name = name + " left out", .tensor = name});
    const auto other = [&](const char* how, const std::vector<int64_t>& changed) {
      if (changed != shape)
        expect_survived({.name = fmt::format("{} {}", name, how), .tensor = name, .form = {.shape = changed}});
    };
    other("of one", {1});
    other("reversed", {shape.rbegin(), shape.rend()});
    for (size_t d = 0; d < shape.size(); ++d) {
      std::vector<int64_t> changed = shape;
      changed[d] += 1;
      other("wider", changed);
      changed[d] = std::max<int64_t>(shape[d] / 2, 1);
      other("half", changed);
      changed[d] = shape[d] * 2;
      other("double", changed);
    }
    std::vector<int64_t> flat = {1};
    for (const int64_t n : shape) flat[0] *= n;
    other("flat", flat);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ProjectorFaults, testing::Values(kLlava, kGemma3, kQwen2Vl),
                         [](const auto& kind) { return kind.param.name; });

// Each of these ended the process.
class FatalOnes : public ProjectorFaults {
 protected:
  void expect_refused(const Fault& fault, const std::string& why) {
    EXPECT_THAT(outcome(fault), testing::HasSubstr(why)) << fault.name;
  }
  std::vector<int64_t> shape_of(const std::string& name) const {
    for (const auto& [other, shape] : tensors())
      if (other == name) return shape;
    return {};
  }
};
class FatalQwens : public FatalOnes {};
INSTANTIATE_TEST_SUITE_P(Llava, FatalOnes, testing::Values(kLlava), [](const auto& kind) { return kind.param.name; });
INSTANTIATE_TEST_SUITE_P(Qwen2Vl, FatalQwens, testing::Values(kQwen2Vl),
                         [](const auto& kind) { return kind.param.name; });

TEST_P(FatalQwens, AreErrorsOfTheirLoad) {
  for (const uint32_t merged : {1u, 3u, 4u})
    expect_refused(
        {.name = std::to_string(merged),
         .change_keys = [&](gguf_context* gguf) { gguf_set_val_u32(gguf, "clip.vision.spatial_merge_size", merged); }},
        "merges 2 x 2 patches");
}

TEST_P(FatalOnes, AreErrorsOfTheirLoadOrImage) {
  for (const uint32_t patch : {16u, 255u, 65535u})
    expect_refused(
        {.name = "patches",
         .change_keys = [&](gguf_context* gguf) { gguf_set_val_u32(gguf, "clip.vision.patch_size", patch); }},
        "its patches are 32 x 32");
  for (const char* name : {"v.patch_embd.weight", "v.position_embd.weight"})
    expect_refused({.name = "left out", .tensor = name}, std::string("without its tensor ") + name);
  for (const char* name : {"v.post_ln.weight", "v.position_embd.weight", "v.blk.0.ln1.weight"})
    expect_refused({.name = name, .tensor = name, .form = {.type = GGML_TYPE_Q8_1, .shape = shape_of(name)}},
                   "pass: the projector's file is wrong: ggml has no code for");
  expect_refused({.name = "huge",
                  .change_keys =
                      [](gguf_context* gguf) {
                        const std::vector<int32_t> sides = {100'000, 100'000};
                        gguf_set_arr_data(gguf, "clip.vision.image_grid_pinpoints", GGUF_TYPE_INT32, sides.data(), 2);
                      }},
                 "makes images of 10000000000 points");
}

}  // namespace
}  // namespace spillway
