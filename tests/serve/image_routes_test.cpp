// SPDX-License-Identifier: MIT
// Images in every protocol: what reaches the model, and what is refused.
#include <gmock/gmock.h>

#include "serve/fake_models.h"
#include "serve/message_images.h"
#include "serve/routes.h"

namespace spillway {
namespace {

using testing::HasSubstr;

// "IMGa" and "IMGb", as ScriptedEngine sees them.
constexpr const char *kImageA = "SU1HYQ==", *kImageB = "SU1HYg==", *kNoImage = "aGVsbG8=";

class ImageRoutesTest : public testing::Test {
 protected:
  ImageRoutesTest() {
    const char* turns =
        "{%- for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}<assistant>";
    catalog_.add("eyes", {"completion", "vision"}, turns);
    catalog_.add("blind", {"completion"}, turns);
    catalog_.add("blinded", {"completion", "vision"}, turns);
    catalog_.add("told", {"completion"}, turns);
    catalog_.add("loses", {"completion", "vision"}, "{% for message in messages %}<user>hi{% endfor %}<assistant>");
    ManagerOptions options = scripted_manager([this](ScriptedEngine& engine, const LoadOptions& load) {
      const bool blinded = load.path.ends_with("blinded");
      engine.info.sees_images = !blinded && !load.path.ends_with("blind");
      if (blinded) engine.info.blind_why = "mmproj.gguf: is for a model of another width";
      engine.answer = [this](const std::string& prompt) {
        prompts_.push_back(prompt);
        return std::string("seen");
      };
      engine_ = &engine;
    });
    options.projector_path = "mmproj.gguf";  // --mmproj
    options.projected_models = {"told:latest"};
    manager_ = std::make_unique<ModelManager>(catalog_, options);
    routes_ = std::make_unique<Routes>(
        catalog_, *manager_, RoutesOptions{.version = "test", .unix_s = [] { return 1.7e9; }, .forecast = {}});
  }

  // The reply's body.
  std::string post(const std::string& path, const std::string& body) {
    WebRequest request{.method = "POST",
                       .path = path,
                       .headers = {},
                       .query = {},
                       .body = body,
                       .remote = "test",
                       .is_gone = {},
                       .read_body = {}};
    const WebReply reply = routes_->handle(request);
    status_ = reply.status;
    if (!reply.stream) return reply.body;
    std::string all;
    reply.stream([&](std::string_view bytes) {
      all += bytes;
      return true;
    });
    return all;
  }
  // The prompt that the last answer was made to.
  std::string prompt() const {
    const std::string& last = prompts_.back();
    return last.substr(0, last.rfind("<assistant>"));
  }

  FakeCatalog catalog_;
  std::unique_ptr<ModelManager> manager_;
  std::unique_ptr<Routes> routes_;
  ScriptedEngine* engine_ = nullptr;
  std::vector<std::string> prompts_;
  int status_ = 0;
};

std::string url_of(const char* image) { return std::string("data:image/png;base64,") + image; }

TEST_F(ImageRoutesTest, ImagesReachTheModelWhereTheyStand) {
  EXPECT_THAT(post("/api/chat", std::string(R"({"model":"eyes","stream":false,"messages":[{"role":"user","content":)") +
                                    R"("what is it?","images":[")" + kImageA + R"("]}]})"),
              HasSubstr("seen"));
  EXPECT_EQ(prompt(), "<user>(aaaa)what is it?");
  post("/api/generate", std::string(R"({"model":"eyes","stream":false,"prompt":"and these?","images":[")") + kImageA +
                            R"(",")" + kImageB + R"("]})");
  EXPECT_EQ(status_, 200);
  EXPECT_EQ(prompt(), "<user>(aaaa)(bbbb)and these?");
  post("/api/generate",
       std::string(R"({"model":"eyes","stream":false,"raw":true,"prompt":"go on <assistant>","images":[")") + kImageA +
           R"("]})");
  EXPECT_EQ(prompt(), "(aaaa)go on ");
  post("/v1/chat/completions", R"({"model":"eyes","messages":[{"role":"user","content":[{"type":"text","text":"this"},)"
                               R"({"type":"image_url","image_url":{"url":")" +
                                   url_of(kImageB) +
                                   R"("}},{"type":"text","text":"and that"},{"type":"image_url","image_url":{"url":")" +
                                   url_of(kImageA) + R"("}}]}]})");
  EXPECT_EQ(status_, 200);
  EXPECT_EQ(prompt(), "<user>this\n(bbbb)\nand that\n(aaaa)");
  post("/v1/responses", R"({"model":"eyes","input":[{"role":"user","content":[{"type":"input_text","text":"look"},)"
                        R"({"type":"input_image","image_url":")" +
                            url_of(kImageA) + R"("}]}]})");
  EXPECT_EQ(status_, 200);
  EXPECT_EQ(prompt(), "<user>look\n(aaaa)");
  post("/v1/messages",
       std::string(R"({"model":"eyes","max_tokens":10,"messages":[{"role":"user","content":[{"type":"image",)") +
           R"("source":{"type":"base64","media_type":"image/png","data":")" + kImageB +
           R"("}},{"type":"text","text":"what?"}]}]})");
  EXPECT_EQ(status_, 200);
  EXPECT_EQ(prompt(), "<user>(bbbb)\nwhat?");
  EXPECT_THAT(post("/v1/messages/count_tokens",
                   std::string(R"({"model":"eyes","messages":[{"role":"user","content":[{"type":"image",)") +
                       R"("source":{"type":"base64","media_type":"image/png","data":")" + kImageB + R"("}}]}]})"),
              HasSubstr(std::to_string(std::string("<user>(bbbb)<assistant>").size())));
}

TEST_F(ImageRoutesTest, NoImageIsLookedAtForWhoHasLeft) {
  post("/api/chat", R"({"model":"eyes","stream":false,"messages":[{"role":"user","content":"hi"}]})");
  const std::string image = std::string("\"") + kImageA + "\"";
  WebRequest request;
  request.method = "POST";
  request.path = "/api/generate";
  request.body = R"({"model":"eyes","stream":false,"prompt":"x","images":[)" + image + "," + image + "," + image + "]}";
  request.is_gone = [this] { return engine_->n_inspected > 0; };
  EXPECT_NE(routes_->handle(request).status, 200);
  EXPECT_EQ(engine_->n_inspected, 1);
}

TEST_F(ImageRoutesTest, AModelThatWasGivenAProjectorSaysThatItSees) {
  const auto can = [&](const std::string& model) {
    return Json::parse(post("/api/show", R"({"model":")" + model + "\"}"))["capabilities"];
  };
  EXPECT_EQ(can("told"), (Json{"completion", "vision"}));
  EXPECT_EQ(can("blind"), Json{"completion"});
  const WebReply tags = routes_->handle({.method = "GET",
                                         .path = "/api/tags",
                                         .headers = {},
                                         .query = {},
                                         .body = {},
                                         .remote = "test",
                                         .is_gone = {},
                                         .read_body = {}});
  const Json models = Json::parse(tags.body)["models"];
  ASSERT_FALSE(models.empty());
  for (const Json& model : models)
    EXPECT_EQ(model["capabilities"].size(), model["name"] == "blind:latest" ? 1u : 2u) << model;
}

TEST_F(ImageRoutesTest, AToolShowsAnImageToAModelThatSees) {
  const std::string body =
      std::string(R"("max_tokens":10,"messages":[{"role":"user","content":"look"},{"role":"assistant","content":[)") +
      R"({"type":"tool_use","id":"c","name":"shot","input":{}}]},{"role":"user","content":[{"type":"tool_result",)" +
      R"("tool_use_id":"c","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":")" +
      kImageA + R"("}}]}]}]})";
  post("/v1/messages", R"({"model":"eyes",)" + body);
  EXPECT_EQ(status_, 200);
  EXPECT_THAT(prompt(), HasSubstr("(aaaa)"));
  post("/v1/messages", R"({"model":"blind",)" + body);
  EXPECT_EQ(status_, 200);
  EXPECT_THAT(prompt(), HasSubstr("[image image/png: the model cannot see it]"));
}

TEST_F(ImageRoutesTest, ASecondTurnComputesItsImageNotAgain) {
  const std::string turns = std::string(R"({"model":"eyes","stream":false,"messages":[{"role":"user","content":")") +
                            std::string(80, 'x') + R"(","images":[")" + kImageA + R"("]})";
  post("/api/chat", turns + "]}");
  post("/api/chat", turns + R"(,{"role":"assistant","content":"seen"},{"role":"user","content":"sure?"}]})");
  EXPECT_EQ(status_, 200);
  EXPECT_EQ(prompt(), "<user>(aaaa)" + std::string(80, 'x') + "<assistant>seen<user>sure?");
  EXPECT_EQ(engine_->n_images, 1);
  // Another image at the same place is computed, whatever was there.
  std::string other = turns + "]}";
  other.replace(other.find(kImageA), 8, kImageB);
  post("/api/chat", other);
  EXPECT_EQ(prompt(), "<user>(bbbb)" + std::string(80, 'x'));
  EXPECT_EQ(engine_->n_images, 2);
}

TEST_F(ImageRoutesTest, WhatCannotBeSeenIsRefusedForThatRequestAlone) {
  const auto chat = [&](const std::string& model, const std::string& url) {
    const std::string reply =
        post("/v1/chat/completions", R"({"model":")" + model +
                                         R"(","messages":[{"role":"user","content":[{"type":"image_url","image_url":)"
                                         R"({"url":")" +
                                         url + R"("}}]}]})");
    EXPECT_EQ(status_, 400) << reply;
    return reply;
  };
  EXPECT_THAT(chat("blind", url_of(kImageA)), HasSubstr("does not support vision"));
  EXPECT_THAT(chat("blinded", url_of(kImageA)),
              HasSubstr("was loaded without its projector: mmproj.gguf: is for a model of another width"));
  EXPECT_THAT(chat("eyes", url_of(kNoImage)), HasSubstr("Could not process image: the data is no image"));
  EXPECT_THAT(chat("eyes", "https://example.org/a.png"), HasSubstr("images are not fetched"));
  EXPECT_THAT(chat("eyes", "file:///etc/passwd"), HasSubstr("images are not fetched"));
  EXPECT_THAT(chat("eyes", "data:image/png,%89PNG"), HasSubstr("has to be base64"));
  EXPECT_THAT(chat("eyes", "data:image/png;base64,%%%"), HasSubstr("not base64"));
  EXPECT_THAT(chat("loses", url_of(kImageA)), HasSubstr("leaves out an image"));
  EXPECT_THAT(post("/v1/messages", R"({"model":"eyes","max_tokens":5,"messages":[{"role":"user","content":[)"
                                   R"({"type":"image","source":{"type":"url","url":"https://a.test/x.png"}}]}]})"),
              HasSubstr("messages.0.content.0.image.source: Could not process image"));
  EXPECT_EQ(status_, 400);
  post("/api/generate", R"({"model":"eyes","stream":false,"prompt":"x","images":[7]})");
  EXPECT_EQ(status_, 400);
  post("/api/generate",
       std::string(R"({"model":"eyes","stream":false,"prompt":"x","suffix":"y","images":[")") + kImageA + R"("]})");
  EXPECT_EQ(status_, 400);
  // A place below 0 stands for an image of a request, and is nothing that one may name.
  post("/v1/completions", R"({"model":"eyes","prompt":[65,-1097,-1097,-1097,-1097,66]})");
  EXPECT_EQ(status_, 400);
  post("/api/generate", R"({"model":"eyes","stream":false,"prompt":"fine"})");
  EXPECT_EQ(status_, 200);
}

TEST(ImageData, IsBase64WithOrWithoutAUrlAroundIt) {
  EXPECT_EQ(*image_bytes(kImageA), "IMGa");
  EXPECT_EQ(*image_bytes(url_of(kImageA)), "IMGa");
  EXPECT_FALSE(image_bytes("http://a"));
  EXPECT_FALSE(image_bytes("data:"));
}

}  // namespace
}  // namespace spillway
