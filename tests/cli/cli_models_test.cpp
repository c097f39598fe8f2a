// SPDX-License-Identifier: MIT
// The verbs for models from the outside: the built program on stores in a folder, and on a server on the loopback.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "engine/adapter_writer.h"
#include "engine/image_bombs.h"
#include "engine/projector_writer.h"
#include "fetch/test_server.h"
#include "model/store_folder.h"
#include "os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;
using Json = nlohmann::json;

constexpr const char* kLibrary = "registry.ollama.ai/library/";

class CliModelsTest : public testing::Test {
 protected:
  CliModelsTest() {
    ::setenv("SPILLWAY_MODELS", own_.path().c_str(), 1);
    ::setenv("OLLAMA_MODELS", ollama_.path().c_str(), 1);
    ::setenv("SPILLWAY_CACHE_DIR", folder_.at("cache").c_str(), 1);
    ::setenv("no_proxy", "127.0.0.1", 1);
    ::setenv("HOME", folder_.path().c_str(), 1);
    for (const char* name : {"SPILLWAY_REGISTRY", "HF_ENDPOINT"}) ::setenv(name, "http://127.0.0.1:9", 1);  // nobody
    for (const char* name : {"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"}) ::unsetenv(name);
  }

  static ProcessOutcome spillway(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SPILLWAY);
    return run_process(arguments);
  }
  static void succeeds(const std::vector<std::string>& arguments) {
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, IsEmpty());
  }
  static void succeeds_with_line(const std::vector<std::string>& arguments, const std::string& line) {
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, line + "\n");
  }
  static void fails(const std::vector<std::string>& arguments, const std::string& words) {
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.out;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("spillway: "), HasSubstr(words)));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
  static std::string names() { return spillway({"list", "--names"}).out; }

  TempFolder folder_;
  StoreFolder own_{folder_.at("own")}, ollama_{folder_.at("ollama")};
  const std::string gguf_ = chat_model().bytes();
};

TEST_F(CliModelsTest, AnEmptyMachineListsNothing) {
  EXPECT_THAT(spillway({"list"}).out, StartsWith("NAME"));
  EXPECT_EQ(spillway({"list", "--json"}).out, "{\"models\":[]}\n");
  EXPECT_EQ(names(), "");
}

TEST_F(CliModelsTest, OllamasModelsAreListedAndShownByName) {
  ollama_.model(std::string(kLibrary) + "it/7b",
                {{"model", gguf_}, {"system", "Be brief."}, {"params", R"({"temperature":0.5})"}, {"license", "MIT"}});
  EXPECT_EQ(names(), "it:7b\n");
  EXPECT_THAT(spillway({"list"}).out, AllOf(HasSubstr("it:7b"), HasSubstr("Q4_K_M"), HasSubstr("ollama")));
  EXPECT_EQ(spillway({"list", "--names", "absent"}).out, "");
  const Json list = Json::parse(spillway({"list", "--json"}).out);
  ASSERT_THAT(list["models"], SizeIs(1));
  EXPECT_EQ(list["models"][0]["name"], "it:7b");
  EXPECT_EQ(list["models"][0]["path"], ollama_.blob_path(gguf_));
  EXPECT_EQ(list["models"][0]["digest"].get<std::string>().size(), 64u);

  const auto shown = spillway({"show", "IT:7B"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, AllOf(HasSubstr("llama"), HasSubstr("Be brief."), HasSubstr("temperature"), HasSubstr("MIT")));
  EXPECT_EQ(spillway({"show", "it:7b", "--only", "system"}).out, "Be brief.\n");
  EXPECT_THAT(spillway({"show", "it:7b", "--only", "modelfile"}).out, HasSubstr("FROM /"));
  const Json json = Json::parse(spillway({"show", "it:7b", "--json", "--verbose"}).out);
  EXPECT_EQ(json["model_info"]["general.architecture"], "llama");
  EXPECT_THAT(json["tensors"], SizeIs(2));
  EXPECT_EQ(spillway({"show", "it:7b", "--only", "nonsense"}).exit_code, 2);
}

TEST_F(CliModelsTest, AFileIsShownByItsPath) {
  folder_.write("some.gguf", gguf_);
  const auto shown = spillway({"show", folder_.at("some.gguf")});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, AllOf(HasSubstr("some:latest"), HasSubstr(folder_.at("some.gguf"))));
  folder_.write("text.gguf", "text");
  fails({"show", folder_.at("text.gguf")}, "not a GGUF");
  fails({"show", folder_.at("absent.gguf")}, "no such file");
}

TEST_F(CliModelsTest, ModelsAreCopiedAndRemoved) {
  ollama_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
  succeeds({"cp", "it", "mine:v1"});
  EXPECT_THAT(names(), AllOf(HasSubstr("mine:v1"), HasSubstr("it:latest")));
  folder_.write("file.gguf", chat_model("", "Other").bytes());
  succeeds({"cp", folder_.at("file.gguf"), "from-file"});
  succeeds({"rm", "mine:v1", "from-file"});
  EXPECT_EQ(names(), "it:latest\n");
  EXPECT_THAT(files_below(own_.path()), ElementsAre(".lock"));
  fails({"rm", "mine:v1"}, "model 'mine:v1' not found");
  fails({"rm", "it"}, "ollama rm");
  fails({"rm", "../../x"}, "invalid model name");
  fails({"cp", "absent", "x"}, "model 'absent' not found");
}

TEST_F(CliModelsTest, AModelRunsByItsNameAndAFileOfThatNameWins) {
  const auto made = run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-moe", "--out", folder_.at("tiny.gguf")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  succeeds({"cp", folder_.at("tiny.gguf"), "tiny"});
  std::filesystem::remove(folder_.at("tiny.gguf"));
  const std::vector<std::string> rest = {"--token-ids", "1,2,3", "--max-tokens", "2", "--temp", "0", "--threads", "1"};
  const auto run = [&](const std::string& model) {
    std::vector<std::string> command{"run", model};
    command.insert(command.end(), rest.begin(), rest.end());
    return command;
  };
  succeeds(run("tiny"));
  fails(run("absent"), "absent: no such file, and no model of that name");
  const auto here = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  folder_.write("tiny", "no model");
  fails(run("tiny"), "not a GGUF");
  std::filesystem::current_path(here);
}

TEST_F(CliModelsTest, AModelIsMadeOfAnotherWithSettingsOfItsOwn) {
  ollama_.model(std::string(kLibrary) + "it/7b", {{"model", gguf_}, {"params", R"({"temperature":0.5,"top_k":7})"}});
  folder_.write("chat.jinja", "{% for message in messages %}{{ message.content }}{% endfor %}");
  EXPECT_EQ(spillway({"create", "mine", "--from", "it:7b", "--system", "Be brief.", "--template",
                      folder_.at("chat.jinja"), "--parameter", "temperature=0.25", "-p", "stop=A B", "-p", "stop=3"})
                .out,
            "mine:latest is made\n");
  EXPECT_EQ(spillway({"show", "mine", "--only", "system"}).out, "Be brief.\n");
  const auto modelfile = spillway({"show", "mine", "--only", "modelfile"}).out;
  EXPECT_THAT(modelfile, AllOf(HasSubstr("PARAMETER temperature 0.25\n"), HasSubstr("PARAMETER top_k 7\n"),
                               HasSubstr("PARAMETER stop \"A B\"\nPARAMETER stop \"3\"\n"),
                               HasSubstr("TEMPLATE \"\"\"{% for message")));

  // What is shown makes the same model again, also from another folder.
  folder_.write("Modelfile", modelfile);
  succeeds_with_line({"create", "again", "--file", folder_.at("Modelfile")}, "again:latest is made");
  EXPECT_EQ(spillway({"show", "again", "--only", "parameters"}).out,
            spillway({"show", "mine", "--only", "parameters"}).out);
  EXPECT_EQ(spillway({"show", "again", "--only", "template"}).out,
            spillway({"show", "mine", "--only", "template"}).out);
  succeeds_with_line({"create", "again", "--file", folder_.at("Modelfile"), "--system", "Be long."},
                     "again:latest is made");
  EXPECT_EQ(spillway({"show", "again", "--only", "system"}).out, "Be long.\n");

  // An empty template takes the old one away: the file's counts.
  folder_.write("empty", "");
  succeeds_with_line({"create", "again", "--from", "mine", "--template", folder_.at("empty")}, "again:latest is made");
  EXPECT_EQ(spillway({"show", "again", "--only", "template"}).out,
            spillway({"show", "it:7b", "--only", "template"}).out);

  // A file beside the Modelfile.
  folder_.write("some.gguf", gguf_);
  folder_.write("Other", "FROM ./some.gguf\nSYSTEM hi\n");
  succeeds_with_line({"create", "other", "-f", folder_.at("Other")}, "other:latest is made");
  EXPECT_EQ(spillway({"show", "other", "--only", "system"}).out, "hi\n");

  // One below the home folder, and numbers as Go writes them.
  folder_.write("Below",
                "\xef\xbb\xbf"
                "FROM ~/some.gguf\nPARAMETER temperature .5\nPARAMETER top_k +7\n");
  succeeds_with_line({"create", "below", "-f", folder_.at("Below")}, "below:latest is made");
  EXPECT_THAT(spillway({"show", "below", "--only", "modelfile"}).out,
              AllOf(HasSubstr("PARAMETER temperature 0.5\n"), HasSubstr("PARAMETER top_k 7\n")));
}

TEST_F(CliModelsTest, WhatCanNotBeMadeIsSaidInOneLine) {
  ollama_.model(std::string(kLibrary) + "it/7b", {{"model", gguf_}});
  const auto modelfile = [&](const std::string& text) {
    folder_.write("Modelfile", text);
    return std::vector<std::string>{"create", "x", "--file", folder_.at("Modelfile")};
  };
  fails({"create", "x", "--from", "absent"}, "absent: no such file, and no model of that name");
  fails({"create", "../x", "--from", "it:7b"}, "invalid model name");
  fails({"create", "x", "--from", "it:7b", "-p", "num_ctx"}, "NAME=VALUE");
  fails({"create", "x", "--from", "it:7b", "-p", "num_ctx=many"}, "option \"num_ctx\" must be of type integer");
  fails({"create", "x", "--from", "it:7b", "-p", "numctx=4"}, "there is no parameter 'numctx'");
  fails({"create", "x", "--from", "it:7b", "--quantize", "q4_0"}, "does not quantize");
  fails({"create", "x", "--from", "it:7b", "--template", folder_.at("absent")}, "absent");
  fails({"create", "x", "--file", folder_.at("absent")}, "absent");
  fails(modelfile("SYSTEM hi\n"), "has no FROM");
  fails(modelfile("FROM it:7b\nADAPTER a.gguf\n"), "a.gguf: ");
  fails(modelfile("FROM it:7b\nSYSTEM \"\"\"hi\n"), "Modelfile, line 2: no \"\"\" ends this text");
  fails(modelfile("FROM it:7b\nSYSTM hi\n"), "line 2: 'SYSTM' is no instruction");
  EXPECT_EQ(names(), "it:7b\n");
}

TEST_F(CliModelsTest, ARunUsesWhatTheModelBringsAlongUnlessToldOtherwise) {
  const std::string file = folder_.at("tiny.gguf");
  ASSERT_EQ(run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-dense", "--out", file}).exit_code, 0);
  folder_.write("chat.jinja", "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]");
  folder_.write("Modelfile",
                "FROM ./tiny.gguf\nPARAMETER temperature 0\nPARAMETER num_predict 6\nPARAMETER num_ctx 128\n"
                "SYSTEM Be brief.\nMESSAGE user a\nMESSAGE assistant b\n");
  succeeds_with_line({"create", "tiny", "--file", folder_.at("Modelfile"), "--template", folder_.at("chat.jinja")},
                     "tiny:latest is made");
  const auto answer = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "run");
    arguments.insert(arguments.end(), {"--threads", "1", "--json", "--stats"});
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out, nullptr, false);
  };
  const std::vector<std::string> plain = {"--temp", "0", "--max-tokens", "6", "--raw"};
  const auto raw = [&](const std::string& prompt) {
    std::vector<std::string> arguments = {file, "--prompt", prompt};
    arguments.insert(arguments.end(), plain.begin(), plain.end());
    return answer(arguments);
  };
  const Json stored = answer({"tiny", "--prompt", "hi"});
  const Json expected = raw("[system]Be brief.[user]a[assistant]b[user]hi[assistant]");
  EXPECT_EQ(stored["logits_hash"], expected["logits_hash"]);
  EXPECT_EQ(stored["text"], expected["text"]);
  EXPECT_EQ(answer({"tiny", "--prompt", "hi", "--system", "Be long."})["logits_hash"],
            raw("[system]Be long.[user]a[assistant]b[user]hi[assistant]")["logits_hash"]);
  EXPECT_NE(answer({"tiny", "--prompt", "hi", "--max-tokens", "2"})["logits_hash"], expected["logits_hash"]);
}

TEST_F(CliModelsTest, APlanHasTheContextThatARunTakesFromTheModel) {
  const auto made = run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-moe", "--out", folder_.at("tiny.gguf")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  succeeds_with_line({"create", "small", "--from", folder_.at("tiny.gguf"), "--parameter", "num_ctx=768"},
                     "small:latest is made");
  const auto context = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"plan", "--json"});
    return Json::parse(spillway(arguments).out, nullptr, false)["context"];
  };
  EXPECT_EQ(context({"small"}), 768);
  EXPECT_EQ(context({"small", "--context", "512"}), 512);
  ::setenv("OLLAMA_CONTEXT_LENGTH", "1024", 1);
  EXPECT_EQ(context({"small"}), 768);
  EXPECT_EQ(context({folder_.at("tiny.gguf")}), 1024);
  ::unsetenv("OLLAMA_CONTEXT_LENGTH");
}

TEST_F(CliModelsTest, AnAdapterChangesWhatARunSaysAndBelongsToTheModelItIsMadeWith) {
  const std::string file = folder_.at("tiny.gguf"), lora = folder_.at("lora.gguf"), wrong = folder_.at("wrong.gguf");
  ASSERT_EQ(run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-dense", "--out", file}).exit_code, 0);
  {
    const auto model = open_gguf_model(file);
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(write_adapter(*model, lora));
    ASSERT_TRUE(write_adapter(*model, wrong, {.architecture = "qwen3"}));
  }
  const auto words = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "run");
    arguments.insert(arguments.end(), {"--token-ids", "1,2,3", "--max-tokens", "4", "--temp", "0", "--threads", "1",
                                       "--kernels", "plain"});
    return arguments;
  };
  const auto hash = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "--stats"});
    const auto outcome = spillway(words(arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out, nullptr, false)["logits_hash"];
  };
  const Json without = hash({file}), with = hash({file, "--lora", lora});
  EXPECT_NE(with, without);
  EXPECT_EQ(hash({file, "--lora", lora + ":1.0"}), with);
  EXPECT_NE(hash({file, "--lora", lora + ":0.5"}), with);
  EXPECT_NE(hash({file, "--lora", lora, "--lora", lora + ":-1.5"}), with);
  EXPECT_EQ(hash({file, "--lora", lora, "--mode", "stream", "--ram", "400M"}), with);

  // Stored with a model, under every name; and replaced by the command line.
  folder_.write("Modelfile", "FROM ./tiny.gguf\nADAPTER ./lora.gguf\n");
  succeeds_with_line({"create", "tuned", "--file", folder_.at("Modelfile")}, "tuned:latest is made");
  succeeds({"cp", "tuned", "copied"});
  const std::string shown = spillway({"show", "copied", "--only", "modelfile"}).out;
  EXPECT_THAT(shown, HasSubstr("\nADAPTER /"));
  folder_.write("Modelfile", shown);
  succeeds_with_line({"create", "again", "--file", folder_.at("Modelfile")}, "again:latest is made");
  succeeds_with_line({"create", "other", "--from", file, "--adapter", lora}, "other:latest is made");
  for (const char* name : {"tuned", "copied", "again", "other"}) EXPECT_EQ(hash({name}), with) << name;
  EXPECT_EQ(hash({"tuned", "--lora", lora + ":0.5"}), hash({file, "--lora", lora + ":0.5"}));
  const auto planned = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"plan", "--json"});
    return Json::parse(spillway(arguments).out, nullptr, false)["host"];
  };
  const Json plan = planned({file}), plan_with = planned({file, "--lora", lora}), plan_tuned = planned({"tuned"});
  EXPECT_EQ(plan["adapter_bytes"], 0);
  EXPECT_GT(plan_with["adapter_bytes"], 0);
  EXPECT_GE(plan_with["program_bytes"],
            plan["program_bytes"].get<uint64_t>() + plan_with["adapter_bytes"].get<uint64_t>());
  EXPECT_EQ(plan_tuned["adapter_bytes"], plan_with["adapter_bytes"]);

  // What is none, or none of this model.
  for (const char* verb : {"run", "serve", "plan", "verify"}) {
    const auto with_lora = [&](const std::string& path) {
      return std::vector<std::string>{verb, file, "--lora", path};
    };
    fails(with_lora(wrong), "wrong.gguf: is an adapter for qwen3, and the model is llama");
    fails(with_lora(folder_.at("absent.gguf")), "absent.gguf");
    fails(with_lora(file), "is a model, not a LoRA adapter");
  }
  fails({"serve", "--lora", lora}, "name one");
  fails({"create", "x", "--from", file, "--adapter", wrong}, "is an adapter for qwen3");
  folder_.write("cut.gguf", std::string(1000, '\0'));
  fails(words({file, "--lora", folder_.at("cut.gguf")}), "cut.gguf");
  EXPECT_EQ(spillway(words({file, "--lora", lora + ":much"})).exit_code, 2);
}

TEST_F(CliModelsTest, AModelSeesWithTheProjectorBesideIt) {
  folder_.write("image.bmp", bmp_picture(64, 48, 1));
  folder_.write("other.bmp", bmp_picture(64, 48, 2));
  folder_.write("text.bmp", "no picture");
  std::filesystem::create_directory(folder_.at("eyes"));
  const std::string file = folder_.at("eyes/seer-Q8_0.gguf"), projector = folder_.at("eyes/mmproj-F16.gguf");
  ASSERT_EQ(run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-dense", "--out", file}).exit_code, 0);
  const auto asked = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", file, "--prompt", "what?", "--max-tokens", "3", "--temp", "0"});
    arguments.insert(arguments.end(), {"--threads", "1", "--kernels", "plain", "--json", "--stats"});
    return arguments;
  };
  const std::string image = folder_.at("image.bmp");
  fails(asked({"--image", image}), "no projector (mmproj) for it lies beside it");
  {
    const auto model = open_gguf_model(file);
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(write_projector(projector, {.n_embd_text = static_cast<uint32_t>(model->n_embd)}));
  }
  const auto hash = [&](const std::vector<std::string>& arguments) {
    const auto outcome = spillway(asked(arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out, nullptr, false)["logits_hash"];
  };
  const Json seen = hash({"--image", image});
  EXPECT_NE(seen, hash({}));
  EXPECT_NE(seen, hash({"--image", folder_.at("other.bmp")}));
  EXPECT_NE(seen, hash({"--image", image, "--image", image}));
  EXPECT_EQ(seen, hash({"--image", image, "--mmproj", projector, "--mode", "stream", "--ram", "700M"}));
  fails(asked({"--image", folder_.at("text.bmp")}), "text.bmp: the data is no image");
  fails(asked({"--image", folder_.write("bomb.png", png_of_zeros(64, 64, 256 * MiB))}),
        "takes more than its size needs");
  fails(asked({"--image", image, "--mmproj", "none"}), "--mmproj none");
  // A chat sees too, with an image in front of its first message or behind /image; a wrong name costs that line alone.
  const auto chat = [&](std::vector<std::string> arguments, const std::string& lines) {
    arguments.insert(arguments.begin(), {SPILLWAY, "run", file, "--chat", "--max-tokens", "3", "--temp", "0"});
    arguments.insert(arguments.end(), {"--threads", "1", "--kernels", "plain", "--json"});
    const auto outcome = run_process(arguments, lines);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  };
  const auto first = [](const ProcessOutcome& outcome) {
    return Json::parse(outcome.out.substr(0, outcome.out.find('\n')), nullptr, false)["tokens"];
  };
  const auto tokens = first(chat({"--image", image}, "what?\n"));
  const auto shown = chat({}, "/image " + folder_.at("absent.png") + "\n/image " + folder_.at("text.bmp") +
                                  "\n/image " + image + " what?\nsure?\n");
  EXPECT_EQ(first(shown), tokens);
  EXPECT_THAT(shown.err, AllOf(HasSubstr("there is no such file"), HasSubstr("text.bmp: the data is no image")));
  EXPECT_EQ(first(chat({}, "/image " + image + "\nwhat?\n")), tokens);
  EXPECT_NE(first(chat({}, "/image " + image + "\n/clear\nwhat?\n")), tokens);
  EXPECT_THAT(chat({"--mmproj", "none"}, "/image " + image + " what?\n").err, HasSubstr("this model sees no images"));
  fails(asked({"--image", image, "--mmproj", file}), "is a model, not a projector");
  fails({"serve", "--mmproj", projector}, "name one");

  const auto planned = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"plan", "--json", file});
    return Json::parse(spillway(arguments).out, nullptr, false)["host"];
  };
  const Json plan = planned({}), blind = planned({"--mmproj", "none"});
  EXPECT_EQ(blind["projector_bytes"], 0);
  EXPECT_GE(plan["projector_bytes"].get<uint64_t>(), std::filesystem::file_size(projector));
  EXPECT_EQ(plan["program_bytes"], blind["program_bytes"].get<uint64_t>() + plan["projector_bytes"].get<uint64_t>());
  EXPECT_THAT(spillway({"plan", file}).out, HasSubstr("for images"));
}

TEST_F(CliModelsTest, APullIsShownAsItComesAndIsThereAfterwards) {
  const std::string config = R"({"model_format":"gguf"})";
  const std::string manifest = R"({"config":)" + StoreFolder::layer("x", config) + R"(,"layers":[)" +
                               StoreFolder::layer("application/vnd.ollama.image.model", gguf_) + "]}";
  std::atomic<bool> silent{false};
  TestServer server([&](const TestRequest& request) -> TestAnswer {
    if (request.target == "/v2/library/it/manifests/latest") return {.body = manifest};
    if (request.target.find(sha256_hex(config)) != std::string::npos) return answer_range(request, config);
    if (request.target.find(sha256_hex(gguf_)) == std::string::npos) return {.status = 404};
    TestAnswer answer = answer_range(request, gguf_);
    if (silent) answer.silent_after = 100;
    return answer;
  });
  ::setenv("SPILLWAY_REGISTRY", server.url().c_str(), 1);

  // Ctrl-C: nothing is there, but what came is kept.
  silent = true;
  Process interrupted({SPILLWAY, "pull", "it", "--json"}, "");
  interrupted.wait_for_output();
  while (server.count("/blobs/") == 0) std::this_thread::yield();
  interrupted.signal(SIGINT);
  EXPECT_EQ(interrupted.finish().exit_code, 130);
  EXPECT_EQ(names(), "");
  silent = false;

  const auto outcome = spillway({"pull", "it", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  std::vector<std::string> statuses;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) statuses.push_back(Json::parse(line)["status"]);
  EXPECT_EQ(statuses.front(), "pulling manifest");
  EXPECT_THAT(statuses, Contains("pulling " + sha256_hex(gguf_).substr(0, 12)));
  EXPECT_EQ(statuses.back(), "success");
  EXPECT_EQ(names(), "it:latest\n");
  EXPECT_EQ(spillway({"pull", "it"}).out, "it:latest is here\n");

  fails({"pull", "absent"}, "model 'absent:latest' not found");
  fails({"pull", "../x"}, "invalid model name");
  fails({"pull", "http://127.0.0.1:1/me/it"}, "--insecure");
}

}  // namespace
}  // namespace spillway
