// SPDX-License-Identifier: MIT
// The gate on graphs of our own: what each node is shown when it computes, where the graph is cut, and what is left
// behind. Nothing is multiplied; instead, whatever a node would read is compared with the file.
#include <ggml-backend.h>
#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "../os/temp_folder.h"
#include "../store/sim_model.h"
#include "backend/llama_handles.h"
#include "engine/gate.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint32_t kLayers = 4, kExperts = 8, kUsed = 2;
constexpr int64_t kIn = 64, kOut = 64;  // a slice has 16 KiB of f32
constexpr int64_t kRows = 300;          // of the embedding
constexpr int64_t kTokensMax = 128;     // a pass of so many uses whole expert tensors

// A model on a simulated disk, mapped, as libllama would have it: an embedding; in each layer a small norm, a dense
// matrix, a router, two expert tensors.
class FakeModel {
 public:
  explicit FakeModel(SimDisk& disk) {
    add("token_embd.weight", kRows * kIn * 4, 1, TensorRole::kEmbedding, -1);
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::string blk = "blk." + std::to_string(layer) + ".";
      add(blk + "norm.weight", kIn * 4, 1, TensorRole::kOther, static_cast<int>(layer));
      add(blk + "dense.weight", kIn * kOut * 4, 1, TensorRole::kFfn, static_cast<int>(layer));
      for (const char* name : {"ffn_up_exps.weight", "ffn_down_exps.weight"})
        add(blk + name, kExperts * kIn * kOut * 4, kExperts, TensorRole::kExperts, static_cast<int>(layer));
    }
    model_.n_layer = kLayers;
    model_.n_expert = kExperts;
    model_.n_expert_used = kUsed;
    model_.files.push_back(disk.make_file(end_));
    mapping_.resize(end_);
    CHECK(model_.files[0]->read_at(0, mapping_).value() == end_);
    index_.emplace(model_, std::vector<std::byte*>{mapping_.data()});
    context_ = ggml_init({.mem_size = 4 * MiB, .mem_buffer = nullptr, .no_alloc = true});
    for (uint32_t t = 0; t < model_.tensors.size(); ++t) weights_.push_back(new_weight(model_.tensors[t]));
  }
  ~FakeModel() { ggml_free(context_); }

  const GgufModel& gguf() const { return model_; }
  const WeightIndex& index() const { return *index_; }
  ggml_context* context() { return context_; }
  std::byte* mapped(uint32_t tensor) { return mapping_.data() + model_.tensors[tensor].range.offset; }
  ggml_tensor* weight(uint32_t tensor) { return weights_[tensor]; }
  uint32_t find(const std::string& name) const {
    for (uint32_t t = 0; t < model_.tensors.size(); ++t)
      if (model_.tensors[t].name == name) return t;
    CHECK(false);
    return 0;
  }
  uint32_t of_layer(uint32_t layer, const char* name) const {
    return find("blk." + std::to_string(layer) + "." + name + ".weight");
  }

 private:
  void add(const std::string& name, uint64_t bytes, uint32_t slices, TensorRole role, int layer) {
    model_.tensors.push_back(
        {.name = name, .type = "f32", .range = {end_, bytes}, .layer = layer, .role = role, .slices = slices});
    end_ += bytes + 32;
  }
  ggml_tensor* new_weight(const TensorInfo& info) {
    ggml_tensor* tensor = nullptr;
    if (info.slices > 1)
      tensor = ggml_new_tensor_3d(context_, GGML_TYPE_F32, kIn, kOut, info.slices);
    else if (info.range.bytes == kIn * 4)
      tensor = ggml_new_tensor_1d(context_, GGML_TYPE_F32, kIn);
    else
      tensor = ggml_new_tensor_2d(context_, GGML_TYPE_F32, kIn, static_cast<int64_t>(info.range.bytes) / kIn / 4);
    CHECK(ggml_nbytes(tensor) == info.range.bytes);
    tensor->data = mapping_.data() + info.range.offset;
    ggml_set_name(tensor, info.name.c_str());
    return tensor;
  }

  GgufModel model_;
  uint64_t end_ = 4000;
  std::vector<std::byte> mapping_;
  std::optional<WeightIndex> index_;
  ggml_context* context_ = nullptr;
  std::vector<ggml_tensor*> weights_;
};

// The nodes of one pass, and what they read when they compute.
struct Graph {
  std::vector<ggml_tensor*> nodes;
  std::vector<ggml_tensor*> choices;  // [n_layer] the nodes whose values are ids
  ggml_tensor* tokens = nullptr;
};

struct Setup {
  double share = 0.5;  // of what holding everything takes
  SimDiskOptions disk = {};
  bool order_is_known = true;
  int64_t n_tokens = 1;
};

class GateBench {
 public:
  explicit GateBench(Setup setup = {})
      : disk_(setup.disk), model_(disk_), gate_(model_.gguf(), model_.index()), n_tokens_(setup.n_tokens) {
    graph_ = new_graph();
    PassOrder order;
    for (const ggml_tensor* node : graph_.nodes) order.note(node, model_.index());
    LayoutRequest request{.tensors = &model_.gguf().tensors};
    request.n_expert_used = kUsed;
    request.extent_bytes_min = kPageBytes;
    request.elastic_bytes_min = kPageBytes;
    request.weights_budget_bytes = UINT64_MAX / 2;
    request.weights_budget_bytes = std::max(
        static_cast<uint64_t>(setup.share * static_cast<double>(resident_bytes(request))), lay_out(request)->bytes_min);
    layout_ = lay_out(request).value();
    const std::vector<const File*> files = {model_.gguf().files[0].get()};
    pinned_ =
        PinnedWeights::open(layout_, model_.gguf().tensors, {.files = files, .read_bytes = 4 * kPageBytes}).value();
    const auto queue = disk_.open_queue(4);
    while (!pinned_->is_loaded()) CHECK(pinned_->load(UINT64_MAX / 2, *queue, workers_, nullptr).has_value());
    if (layout_.streams())
      store_ = WeightStore::open(layout_, disk_.open_queue(4),
                                 {.files = files, .read_bytes = 4 * kPageBytes, .pool_passes = 4})
                   .value();
    gate_.open({.layout = &layout_, .pinned = pinned_.get(), .store = store_.get()},
               setup.order_is_known ? order : PassOrder{}, setup.order_is_known);
  }
  ~GateBench() {
    for (ggml_backend_buffer_t buffer : buffers_) ggml_backend_buffer_free(buffer);
  }

  FakeModel& model() { return model_; }
  Gate& gate() { return gate_; }
  SimDisk& disk() { return disk_; }
  WeightStore& store() { return *store_; }
  PinnedWeights& pinned() { return *pinned_; }
  const Layout& layout() const { return layout_; }
  Graph& graph() { return graph_; }

  // What the router of each layer chooses next, token by token; else at random.
  std::map<uint32_t, std::vector<int32_t>> chosen;
  // Called when a node computes.
  std::function<void(ggml_tensor*)> on_compute;

  // One pass over the graph, as ggml does it: ask about a stretch, compute it, show its last node.
  Result<void> pass() { return pass_over(graph_); }
  Result<void> pass_over(Graph& graph) {
    const std::vector<std::vector<ggml_tensor*>> own = sources_of(graph);
    n_cuts = 0;
    computed.clear();
    gate_.begin_pass(static_cast<size_t>(n_tokens_), static_cast<size_t>(n_tokens_));
    const size_t n = graph.nodes.size();
    for (size_t first = 0; first < n;) {
      bool cut = Gate::on_node(graph.nodes[first], true, &gate_);
      size_t last = first;
      while (!cut && last + 1 < n) cut = Gate::on_node(graph.nodes[++last], true, &gate_);
      for (size_t i = first; i <= last; ++i) compute(graph, graph.nodes[i]);
      first = last + 1;
      n_cuts += cut;
      if (cut && !Gate::on_node(graph.nodes[last], false, &gate_)) break;
    }
    auto outcome = gate_.end_pass();
    EXPECT_EQ(sources_of(graph), own) << "a node was left with a stand-in";
    return outcome;
  }

  // In a graph: another node that reads `weight`, a device's.
  void put_on_device(ggml_tensor* node) {
    if (buffers_.empty()) buffers_.push_back(device_buffer());
    node->buffer = buffers_.front();
  }

  Graph new_graph() {
    ggml_context* c = model_.context();
    Graph graph;
    graph.tokens = leaf(ggml_new_tensor_1d(c, GGML_TYPE_I32, n_tokens_));
    const auto node = [&](ggml_tensor* made) {
      graph.nodes.push_back(leaf(made));
      made->flags |= GGML_TENSOR_FLAG_COMPUTE;
      return made;
    };
    ggml_tensor* x = node(ggml_get_rows(c, model_.weight(0), graph.tokens));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      x = node(ggml_mul(c, x, model_.weight(model_.of_layer(layer, "norm"))));
      x = node(ggml_mul_mat(c, model_.weight(model_.of_layer(layer, "dense")), x));
      ggml_tensor* choice =
          node(ggml_argsort(c, ggml_view_2d(c, x, kExperts, n_tokens_, x->nb[1], 0), GGML_SORT_ORDER_DESC));
      ggml_set_name(choice, ("ffn_moe_argsort-" + std::to_string(layer)).c_str());
      graph.choices.push_back(choice);
      ggml_tensor* ids = ggml_view_2d(c, choice, kUsed, n_tokens_, choice->nb[1], 0);
      ids->data = choice->data;
      ggml_tensor* each = node(ggml_reshape_3d(c, x, kIn, 1, n_tokens_));
      ggml_tensor* up = node(ggml_mul_mat_id(c, model_.weight(model_.of_layer(layer, "ffn_up_exps")), each, ids));
      ggml_tensor* down = node(ggml_mul_mat_id(c, model_.weight(model_.of_layer(layer, "ffn_down_exps")), up, ids));
      x = node(ggml_view_2d(c, down, kIn, n_tokens_, down->nb[2], 0));
    }
    return graph;
  }

  size_t n_cuts = 0;
  size_t n_from_mapping = 0;                 // weights that were read from it, in all passes
  std::vector<const ggml_tensor*> computed;  // in the last pass

 private:
  ggml_tensor* leaf(ggml_tensor* tensor) {
    if (tensor->view_src != nullptr) return tensor;
    memory_.emplace_back(ggml_nbytes(tensor));
    tensor->data = memory_.back().data();
    return tensor;
  }
  static std::vector<std::vector<ggml_tensor*>> sources_of(const Graph& graph) {
    std::vector<std::vector<ggml_tensor*>> sources;
    for (const ggml_tensor* node : graph.nodes) sources.emplace_back(node->src, node->src + GGML_MAX_SRC);
    return sources;
  }
  // Memory that is not the host's to read: that of ggml's repacked weights.
  static ggml_backend_buffer_t device_buffer() {
    CHECK(start_llama().has_value());
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), "ggml_backend_dev_get_extra_bufts"));
    CHECK(extra != nullptr);
    for (ggml_backend_buffer_type_t* type = extra(cpu); *type != nullptr; ++type)
      if (!ggml_backend_buft_is_host(*type)) return ggml_backend_buft_alloc_buffer(*type, 4096);
    CHECK(false);
    return nullptr;
  }

  // Token ids are inputs; they are there before anything is asked.
  void compute(Graph& graph, ggml_tensor* node) {
    computed.push_back(node);
    if (on_compute) on_compute(node);
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      if (node == graph.choices[layer]) choose(node, layer);
    if (node->op == GGML_OP_MUL_MAT_ID) {
      check_experts(graph, node);
    } else if (node->op == GGML_OP_GET_ROWS) {
      check_rows(graph, node);
    } else if (node->op == GGML_OP_MUL || node->op == GGML_OP_MUL_MAT) {
      const int s = node->op == GGML_OP_MUL ? 1 : 0;
      const ggml_tensor* seen = node->src[s];
      const uint32_t tensor = tensor_named(seen->name);
      note_place(seen);
      EXPECT_EQ(std::memcmp(seen->data, model_.mapped(tensor), ggml_nbytes(seen)), 0) << seen->name;
    }
  }
  void choose(ggml_tensor* choice, uint32_t layer) {
    for (int64_t token = 0; token < n_tokens_; ++token) {
      auto* row = reinterpret_cast<int32_t*>(static_cast<std::byte*>(choice->data) + token * choice->nb[1]);
      for (int32_t k = 0; k < static_cast<int32_t>(kExperts); ++k) row[k] = k;
      std::shuffle(row, row + kExperts, random_);
      if (const auto named = chosen.find(layer); named != chosen.end())
        for (size_t k = 0; k < named->second.size(); ++k) row[k] = named->second[k];
    }
  }
  void check_experts(Graph& graph, const ggml_tensor* node) {
    const ggml_tensor *seen = node->src[0], *ids = node->src[2];
    const uint32_t tensor = tensor_named(seen->name);
    const ggml_tensor* choice = graph.choices[static_cast<size_t>(model_.gguf().tensors[tensor].layer)];
    const uint64_t slice_bytes = model_.gguf().tensors[tensor].slice_bytes();
    note_place(seen);
    for (int64_t token = 0; token < n_tokens_; ++token)
      for (int64_t k = 0; k < kUsed; ++k) {
        const int32_t expert = value(choice, token, k), shown = value(ids, token, k);
        if (expert < 0 || expert >= static_cast<int32_t>(kExperts)) continue;
        ASSERT_GE(shown, 0);
        ASSERT_LT(shown, seen->ne[2]);
        const std::byte* slice = static_cast<const std::byte*>(seen->data) + static_cast<uint64_t>(shown) * seen->nb[2];
        EXPECT_EQ(std::memcmp(slice, model_.mapped(tensor) + static_cast<uint64_t>(expert) * slice_bytes, slice_bytes),
                  0)
            << seen->name << " expert " << expert;
      }
  }
  void check_rows(Graph& graph, const ggml_tensor* node) {
    const ggml_tensor *seen = node->src[0], *ids = node->src[1];
    note_place(seen);
    const auto* wanted = static_cast<const int32_t*>(graph.tokens->data);
    for (int64_t token = 0; token < n_tokens_; ++token) {
      if (wanted[token] < 0 || wanted[token] >= kRows) continue;
      const int32_t shown = static_cast<const int32_t*>(ids->data)[token];
      ASSERT_LT(shown, seen->ne[1]);
      EXPECT_EQ(std::memcmp(static_cast<const std::byte*>(seen->data) + static_cast<uint64_t>(shown) * seen->nb[1],
                            model_.mapped(0) + static_cast<uint64_t>(wanted[token]) * kIn * 4, kIn * 4),
                0);
    }
  }
  static int32_t value(const ggml_tensor* ids, int64_t token, int64_t k) {
    return *reinterpret_cast<const int32_t*>(static_cast<const std::byte*>(ids->data) +
                                             static_cast<uint64_t>(token) * ids->nb[1] +
                                             static_cast<uint64_t>(k) * ids->nb[0]);
  }
  uint32_t tensor_named(const char* name) const { return model_.find(name); }
  void note_place(const ggml_tensor* seen) { n_from_mapping += model_.index().find(seen->data) != WeightIndex::kNone; }

  SimDisk disk_;
  FakeModel model_;
  Gate gate_;
  int64_t n_tokens_;
  std::mt19937 random_{static_cast<uint32_t>(test_seed())};
  std::deque<std::vector<std::byte>> memory_;
  std::vector<ggml_backend_buffer_t> buffers_;
  Graph graph_;
  Layout layout_;
  Workers workers_{1};
  std::unique_ptr<PinnedWeights> pinned_;
  std::unique_ptr<WeightStore> store_;
};

class AnyBudget : public testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(Shares, AnyBudget, testing::Values(0.0, 0.3, 0.6, 0.9, 1.2));

TEST_P(AnyBudget, EveryNodeReadsWhatTheFileHasFromOurMemory) {
  TRACE_SEED();
  for (const int64_t n_tokens : {int64_t{1}, int64_t{3}, kTokensMax}) {
    GateBench bench({.share = GetParam(), .n_tokens = n_tokens});
    const size_t most = bench.gate().pass_tokens_max();
    if (most > 0 && static_cast<size_t>(n_tokens) > most) continue;  // the engine cuts it
    for (int pass = 0; pass < 12; ++pass) ASSERT_TRUE(bench.pass());
    EXPECT_EQ(bench.n_from_mapping, 0u) << n_tokens;
    EXPECT_EQ(bench.gate().ungated(), 0u) << n_tokens;
  }
}

TEST(GateGraph, ThePassThatTeachesTheOrderIsRightToo) {
  TRACE_SEED();
  GateBench bench({.order_is_known = false});
  for (int pass = 0; pass < 6; ++pass) ASSERT_TRUE(bench.pass());
  EXPECT_LE(bench.gate().ungated(), 2u * kLayers);  // experts of the first
  bench.gate().reset_stats();
  for (int pass = 0; pass < 6; ++pass) ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.gate().ungated(), 0u);
}

// Libllama builds a graph of another shape in between, and takes up the old one again.
TEST(GateGraph, GraphsAreUsedAgainAndByTurns) {
  TRACE_SEED();
  GateBench bench;
  Graph other = bench.new_graph();
  for (int pass = 0; pass < 6; ++pass) {
    ASSERT_TRUE(bench.pass());
    ASSERT_TRUE(bench.pass_over(other));
  }
  EXPECT_EQ(bench.n_from_mapping, 0u);
}

TEST(GateGraph, WithoutWaitingForAnythingNothingIsCut) {
  GateBench bench({.share = 1.2});
  if (bench.layout().streams()) {
    Ids all;
    for (uint32_t e = 0; e < bench.store().n_extents(); ++e)
      if (bench.store().extent(ExtentId{e}).pool != Pool::kWhole) all.push_back(ExtentId{e});
    bench.store().request(all, Priority::kSpeculative);
    ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  }
  for (int pass = 0; pass < 3; ++pass) {
    ASSERT_TRUE(bench.pass());
    EXPECT_EQ(bench.n_cuts, 0u);
  }
}

// Ids are known only when their producer has computed: the graph is cut behind it, before the first node that uses
// them.
TEST(GateGraph, StopsBehindWhateverProducesIds) {
  TRACE_SEED();
  GateBench bench({.share = 0.4});
  std::set<const ggml_tensor*> chosen;
  bench.on_compute = [&](ggml_tensor* node) {
    if (node->op == GGML_OP_ARGSORT) chosen.insert(node);
    if (node->op != GGML_OP_MUL_MAT_ID) return;
    const ggml_tensor* choice = root_of(node->src[2]);
    EXPECT_TRUE(chosen.contains(choice));
    EXPECT_NE(node->src[2]->data, choice->data) << "slots have numbers of their own";
  };
  for (int pass = 0; pass < 4; ++pass) {
    ASSERT_TRUE(bench.pass());
    EXPECT_GE(bench.n_cuts, kLayers);
    EXPECT_EQ(bench.computed.size(), bench.graph().nodes.size());
  }
  EXPECT_EQ(chosen.size(), kLayers);
}

// All that a layer will use is asked for when its ids are known, in the order in which it is used.
TEST(GateGraph, ALayersMissesAreReadInTheOrderOfUse) {
  TRACE_SEED();
  std::mutex mu;
  std::vector<uint64_t> offsets;
  const auto note = [&](const ReadRequest& request) {
    const std::lock_guard lock(mu);
    offsets.push_back(request.offset);
  };
  GateBench bench({.share = 0.4, .disk = {.reorder_window = 1, .before_read = note}});
  for (int pass = 0; pass < 3; ++pass) {
    ASSERT_TRUE(bench.store().wait_until_read(kSoon));
    {
      const std::lock_guard lock(mu);
      offsets.clear();
    }
    ASSERT_TRUE(bench.pass());
    const std::lock_guard lock(mu);
    uint32_t n_read = 0;
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      const auto reads_of = [&](const char* name) {
        std::vector<size_t> at;
        const ByteRange range = bench.model().gguf().tensors[bench.model().of_layer(layer, name)].range;
        for (size_t i = 0; i < offsets.size(); ++i)
          if (offsets[i] + kPageBytes > range.offset && offsets[i] < range.end()) at.push_back(i);
        return at;
      };
      const auto up = reads_of("ffn_up_exps"), down = reads_of("ffn_down_exps");
      n_read += static_cast<uint32_t>(up.size());
      EXPECT_TRUE(up.empty() || down.empty() || up.back() < down.back()) << layer;
    }
    EXPECT_GT(n_read, 0u);
  }
}

TEST(GateGraph, IdsMayRepeat) {
  GateBench bench;
  for (uint32_t layer = 0; layer < kLayers; ++layer) bench.chosen[layer] = {5, 5};
  for (int pass = 0; pass < 4; ++pass) ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.n_from_mapping, 0u);
}

TEST(GateGraph, IdsThatNameNoExpertAreLeftToGgml) {
  for (const int32_t wrong : {-1, static_cast<int32_t>(kExperts), INT32_MAX, INT32_MIN}) {
    GateBench bench;
    bench.chosen[1] = {3, wrong};
    ASSERT_TRUE(bench.pass());
    EXPECT_EQ(bench.gate().ungated(), 2u) << wrong;
    EXPECT_EQ(bench.n_from_mapping, 2u) << wrong;
    bench.chosen.clear();
    ASSERT_TRUE(bench.pass());
    EXPECT_EQ(bench.gate().ungated(), 2u) << wrong;
  }
}

TEST(GateGraph, RowsThatAreNoneAreLeftToGgml) {
  GateBench bench;
  static_cast<int32_t*>(bench.graph().tokens->data)[0] = kRows;
  ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.gate().ungated(), 1u);
}

TEST(GateGraph, ABranchThatIsNotTakenIsLeftAlone) {
  GateBench bench;
  for (ggml_tensor* node : bench.graph().nodes)
    if (node->op == GGML_OP_MUL_MAT_ID) node->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
  bench.on_compute = [&](ggml_tensor* node) {
    if (node->op != GGML_OP_MUL_MAT_ID) return;
    EXPECT_NE(bench.model().index().find(node->src[0]->data), WeightIndex::kNone);
  };
  ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.gate().ungated(), 0u);
}

TEST(GateGraph, AViewOfAWeightShowsTheSamePartOfIt) {
  GateBench bench;
  ggml_context* c = bench.model().context();
  const uint32_t dense = bench.model().of_layer(2, "dense");
  ggml_tensor* half = ggml_view_2d(c, bench.model().weight(dense), kIn, kOut / 2, kIn * 4, kIn * kOut * 2);
  Graph& graph = bench.graph();
  ggml_tensor* x = graph.nodes[1];
  ggml_tensor* node = ggml_mul_mat(c, half, x);
  node->flags |= GGML_TENSOR_FLAG_COMPUTE;
  std::vector<std::byte> memory(ggml_nbytes(node));
  node->data = memory.data();
  Graph part{.nodes = {node}, .choices = graph.choices, .tokens = graph.tokens};
  bool seen = false;
  bench.on_compute = [&](ggml_tensor* computing) {
    if (computing != node) return;
    seen = true;
    EXPECT_EQ(std::memcmp(node->src[0]->data, bench.model().mapped(dense) + kIn * kOut * 2, kIn * kOut * 2), 0);
    EXPECT_EQ(bench.model().index().find(node->src[0]->data), WeightIndex::kNone);
    ggml_set_name(node->src[0], "blk.2.dense.weight");
    node->op = GGML_OP_NONE;  // seen to: the bench would compare all of it
  };
  ASSERT_TRUE(bench.pass_over(part));
  EXPECT_TRUE(seen);
}

TEST(GateGraph, ADevicesNodesAreNeitherCutNorTouched) {
  GateBench bench;
  for (ggml_tensor* node : bench.graph().nodes)
    if (node->op == GGML_OP_MUL_MAT) bench.put_on_device(node);
  bench.on_compute = [&](ggml_tensor* node) {
    if (node->op != GGML_OP_MUL_MAT) return;
    EXPECT_NE(bench.model().index().find(node->src[0]->data), WeightIndex::kNone);
  };
  for (int pass = 0; pass < 3; ++pass) ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.gate().ungated(), 0u);
}

TEST(GateGraph, AFailedReadEndsThePassAtOnceAndTheNextOneIsRight) {
  TRACE_SEED();
  GateBench bench({.share = 0.3});
  ASSERT_TRUE(bench.pass());
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  bench.disk().options().fail_all = true;
  std::optional<Status> failure;
  for (int pass = 0; pass < 20 && !failure; ++pass) {
    // Nothing that was computed counts: what the nodes read is not looked at.
    const auto outcome = bench.pass();
    if (!outcome) failure = outcome.error();
  }
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), Code::kIo);
  EXPECT_THAT(failure->message(), HasSubstr("sim:/"));
  EXPECT_LT(bench.computed.size(), bench.graph().nodes.size());
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  bench.disk().options().fail_all = false;
  for (int pass = 0; pass < 4; ++pass) ASSERT_TRUE(bench.pass());
}

TEST(GateGraph, WeightsThatWereGivenBackAreReadFromTheMapping) {
  GateBench bench({.share = 0.9});
  ASSERT_GT(bench.pinned().bytes_held(), bench.pinned().bytes_min());
  bench.pinned().give_back(0);
  EXPECT_EQ(bench.pinned().bytes_held(), bench.pinned().bytes_min());
  ASSERT_TRUE(bench.pass());
  EXPECT_GT(bench.n_from_mapping, 0u);
}

// Reading from the file takes long, and others go on taking memory.
TEST(GateGraph, WhileAGivenBackWeightIsReadFromTheMappingOthersAreFreedAtOnce) {
  GateBench bench({.share = 0.9});
  PinnedWeights& pinned = bench.pinned();
  pinned.give_back(pinned.bytes_held() - 1);  // that of the last layer
  size_t n_mapped = 0;
  bench.on_compute = [&](ggml_tensor* node) {
    if (node->op != GGML_OP_MUL_MAT || bench.model().index().find(node->src[0]->data) == WeightIndex::kNone) return;
    ++n_mapped;
    EXPECT_GT(pinned.bytes_held(), pinned.bytes_min());
    pinned.give_back(0);
    EXPECT_FALSE(pinned.is_over());
    EXPECT_EQ(pinned.bytes_held(), pinned.bytes_min());
  };
  ASSERT_TRUE(bench.pass());
  EXPECT_EQ(n_mapped, 1u);
}

// A stretch that goes on behind a weight could reach one that is read from the file, and hold it all that time.
TEST(GateGraph, OnceWeightsAreGivenBackAStretchEndsBehindEachThatCouldFollow) {
  GateBench bench({.share = 0.9});
  for (uint32_t layer = 0; layer < kLayers; ++layer) bench.chosen[layer] = {0, 1};
  for (int pass = 0; pass < 5; ++pass) ASSERT_TRUE(bench.pass());
  const size_t n_undisturbed = bench.n_cuts;
  bench.pinned().give_back(bench.pinned().bytes_held() - 1);
  ASSERT_TRUE(bench.pass());
  EXPECT_EQ(bench.n_cuts, n_undisturbed + kLayers);
}

TEST(GateGraph, CanBeStoppedBetweenTwoStretches) {
  GateBench bench({.share = 0.3});
  std::atomic<bool> abort{false};
  bench.gate().set_abort_flag(&abort);
  bench.on_compute = [&](ggml_tensor* node) { abort = abort || node->op == GGML_OP_ARGSORT; };
  const auto outcome = bench.pass();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kCancelled);
  EXPECT_LT(bench.computed.size(), bench.graph().nodes.size());
  abort = false;
  bench.on_compute = nullptr;
  ASSERT_TRUE(bench.pass());
}

// Slots of other sizes from pass to pass, some reads that fail, tokens and experts at random.
TEST(GateGraph, StaysRightWhileMemoryComesAndGoes) {
  TRACE_SEED();
  GateBench bench(
      {.share = 0.7, .disk = {.seed = test_seed(), .fault_every_nth = 41, .short_every_nth = 29}, .n_tokens = 2});
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  int n_right = 0;
  for (int pass = 0; pass < 60; ++pass) {
    const uint64_t most = bench.layout().pool_bytes;
    bench.store().set_pool_bytes(std::max(bench.store().deal().bytes_min(), most * (1 + random() % 8) / 8));
    for (int token = 0; token < 2; ++token)
      static_cast<int32_t*>(bench.graph().tokens->data)[token] = static_cast<int32_t>(random() % kRows);
    n_right += bench.pass().has_value();
  }
  EXPECT_GT(n_right, 30);
}

}  // namespace
}  // namespace spillway
