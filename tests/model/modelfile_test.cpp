// SPDX-License-Identifier: MIT
#include "model/modelfile.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::HasSubstr;

CreateRequest read(std::string_view text) {
  auto request = parse_modelfile(text);
  EXPECT_TRUE(request) << text << ": " << request.error().message();
  return request.value_or(CreateRequest{});
}

std::string refusal(std::string_view text) {
  const auto request = parse_modelfile(text);
  return request ? "read" : std::string(code_name(request.error().code())) + ": " + request.error().message();
}

TEST(Modelfile, InstructionsMayBeWrittenInAnyCaseBetweenCommentsAndBlanks) {
  const CreateRequest request = read("# a comment\r\n\r\n  from   llama3.2:7b  \r\nsystem Be brief. # really\n");
  EXPECT_EQ(request.from, "llama3.2:7b");
  EXPECT_EQ(request.system, "Be brief. # really");
  EXPECT_FALSE(request.template_text || request.licenses || request.messages);
}

TEST(Modelfile, ParametersHaveTypesAndStopIsAList) {
  const CreateRequest request = read(
      "FROM x\nPARAMETER temperature 0.5\nPARAMETER num_ctx 10\nPARAMETER num_ctx 4096\nPARAMETER use_mmap true\n"
      "PARAMETER stop END\nPARAMETER stop \"two\\nlines\"\nPARAMETER stop 3\nPARAMETER note \"a b\"\n");
  EXPECT_EQ(request.parameters.dump(),
            R"({"temperature":0.5,"num_ctx":4096,"use_mmap":true,"stop":["END","two\nlines","3"],"note":"a b"})");
  EXPECT_TRUE(check_parameters(request.parameters));
}

TEST(Modelfile, NumbersAreReadAsGoReadsThem) {
  for (const auto& [text, number] : {std::pair{".7", 0.7}, {"+0.5", 0.5}, {"1.", 1.0}, {"1e-1", 0.1}, {"-.5", -0.5}})
    EXPECT_EQ(parameter_value("temperature", text), number) << text;
  for (const auto& [text, number] : {std::pair{"+7", 7}, {"007", 7}, {"-1", -1}}) {
    EXPECT_EQ(parameter_value("top_k", text), number) << text;
    EXPECT_TRUE(parameter_value("top_k", text).is_number_integer()) << text;
  }
  for (const char* text : {"", ".", "+", "-", "+-1", "inf", "NaN", "0x10", "1e999", "e5", "1-2", "1 2"})
    EXPECT_EQ(parameter_value("note", text), text);
  EXPECT_EQ(parameter_value("stop", ".7"), ".7");
}

TEST(Modelfile, AByteOrderMarkInFrontIsPassedOver) {
  EXPECT_EQ(read("\xef\xbb\xbf"
                 "FROM x\n")
                .from,
            "x");
  EXPECT_EQ(read("\xef\xbb\xbf# a comment\nFROM x\n").from, "x");
}

TEST(Modelfile, QuotedTextsMaySpanLinesAndHoldQuotes) {
  EXPECT_EQ(read("FROM x\nSYSTEM \"\"\"\nHe said \"\"\"hi\"\"\" there.\n  \"\"\"  \nTEMPLATE t").system,
            "\nHe said \"\"\"hi\"\"\" there.\n  ");
  EXPECT_EQ(read("FROM x\nSYSTEM \"\"\"a\"\"\"\"").system, "a\"");
  EXPECT_EQ(read("FROM x\nSYSTEM \"\"\"\"\"\"").system, "");
  EXPECT_EQ(read("FROM x\nSYSTEM \"She said \"hi\"\"").system, "She said \"hi\"");
  EXPECT_EQ(read("FROM x\nTEMPLATE \"a\nb\"\n").template_text, "a\nb");
}

TEST(Modelfile, MessagesLicensesAndTheRest) {
  const CreateRequest request = read(
      "FROM x\nMESSAGE user hi there\nMESSAGE assistant \"\"\"yes\nno\"\"\"\nLICENSE MIT\nLICENSE \"\"\"more\"\"\"\n"
      "RENDERER r\nPARSER p\nREQUIRES 0.14\n");
  ASSERT_TRUE(request.messages && request.messages->size() == 2);
  EXPECT_EQ((*request.messages)[0].role + ":" + (*request.messages)[0].content, "user:hi there");
  EXPECT_EQ((*request.messages)[1].content, "yes\nno");
  EXPECT_THAT(*request.licenses, testing::ElementsAre("MIT", "more"));
  EXPECT_EQ(*request.renderer + *request.parser + *request.requires_version, "rp0.14");
}

TEST(Modelfile, WhatIsWrittenIsReadBack) {
  ModelExtras extras;
  extras.template_text = "{% for m in messages %}\n{{ m }}\"{% endfor %}";
  extras.system = "  \"quoted\"\nlines\n";
  extras.messages = {{"user", "a"}, {"assistant", "b\nc"}};
  extras.licenses = {"MIT", "Apache\n"};
  extras.parameters = {{"temperature", 0.5}, {"stop", {"a \"b\"", "\n", "7"}}, {"seed", 1}};
  extras.renderer = "qwen3-coder";
  extras.parser = "a \"b\"";
  extras.requires_version = "0.14.0";
  const CreateRequest again = read(modelfile_text("base:7b", extras));
  EXPECT_EQ(again.from, "base:7b");
  EXPECT_EQ(again.template_text, extras.template_text);
  EXPECT_EQ(again.system, extras.system);
  EXPECT_EQ(again.parameters, extras.parameters);
  EXPECT_EQ(again.licenses, extras.licenses);
  EXPECT_EQ(again.messages->at(1).content, "b\nc");
  EXPECT_EQ(again.renderer, extras.renderer);
  EXPECT_EQ(again.parser, extras.parser);
  EXPECT_EQ(again.requires_version, extras.requires_version);
  EXPECT_THAT(modelfile_text("x", extras), HasSubstr("\nRENDERER qwen3-coder\n"));
}

TEST(Modelfile, NothingThatIsWrittenBecomesAnInstruction) {
  ModelExtras extras;
  extras.system = "a\"\"\"\nADAPTER /etc/passwd\nLICENSE \"\"\"b";
  extras.licenses = {"\"\"\""};
  extras.messages = {{"user hi\nADAPTER /etc/passwd\nMESSAGE user", "a"}, {"user", "b"}};
  extras.parameters = {{"seed 1\nADAPTER /etc/passwd\nPARAMETER seed", 1}, {"top_k", 2}};
  extras.messages.push_back({"", "c\nADAPTER /etc/passwd"});
  extras.renderer = "r\nADAPTER /etc/passwd";
  extras.parser = "\"\"\"p";
  extras.requires_version = " 1\r\n";
  extras.projector_path = "/a\nADAPTER /etc/passwd";
  const CreateRequest again = read(modelfile_text("/b\nADAPTER /etc/passwd", extras));
  EXPECT_EQ(again.from, "/b\nADAPTER /etc/passwd");
  EXPECT_EQ(again.projector, extras.projector_path);
  EXPECT_EQ(again.renderer, extras.renderer);
  EXPECT_EQ(again.parser, extras.parser);
  EXPECT_EQ(again.requires_version, extras.requires_version);
  EXPECT_EQ(again.system, extras.system);
  EXPECT_EQ(again.licenses, extras.licenses);
  ASSERT_EQ(again.messages->size(), 1u);
  EXPECT_EQ(again.parameters, (nlohmann::ordered_json{{"top_k", 2}}));
  EXPECT_EQ(again.adapter_paths, std::vector<std::string>());
}

TEST(Modelfile, AdaptersAreReadAndWritten) {
  const auto request = parse_modelfile("FROM x\nADAPTER ./a.gguf\nadapter \"b c.gguf\"\n");
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->adapter_paths, (std::vector<std::string>{"./a.gguf", "b c.gguf"}));
  ModelExtras extras;
  extras.adapter_paths = {"/blobs/sha256-1", "/blobs/sha256-2"};
  const auto again = parse_modelfile(modelfile_text("x", extras));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->adapter_paths, extras.adapter_paths);
}

TEST(Modelfile, ASecondFromIsAProjector) {
  const auto request = parse_modelfile("FROM x.gguf\nFROM ./mmproj.gguf\n");
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->from, "x.gguf");
  EXPECT_EQ(request->projector, "./mmproj.gguf");
  ModelExtras extras;
  extras.projector_path = "/blobs/sha256-1";
  const auto again = parse_modelfile(modelfile_text("x", extras));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->projector, extras.projector_path);
}

TEST(Modelfile, MoreParametersThanAnyModelHasAreRefused) {
  std::string text = "FROM x\n";
  for (int i = 0; i < 1000; ++i) text += "PARAMETER p" + std::to_string(i) + " 1\n";
  const CreateRequest request = read(text + "PARAMETER p7 2\nPARAMETER p0 3\n");
  EXPECT_EQ(request.parameters.size(), 1000u);
  EXPECT_EQ(request.parameters["p7"], 2);
  EXPECT_TRUE(check_parameters(request.parameters));
  EXPECT_EQ(refusal(text + "PARAMETER p7 2\nPARAMETER stop x\n"),
            "invalid argument: Modelfile, line 1003: more than 1000 parameters");
  nlohmann::ordered_json more = request.parameters;
  more["stop"] = "x";
  const auto checked = check_parameters(more);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message(), "more than 1000 parameters");
}

TEST(Modelfile, WhatIsNoneIsRefusedWithItsLine) {
  EXPECT_EQ(refusal(""), "invalid argument: the Modelfile has no FROM, which names the model to start from");
  EXPECT_THAT(refusal("FROM x\n\nSYSTM y"), HasSubstr("Modelfile, line 3: 'SYSTM' is no instruction"));
  EXPECT_EQ(refusal("FROM\n"), "invalid argument: Modelfile, line 1: a value is missing");
  EXPECT_EQ(refusal("FROM x\nPARAMETER num_ctx"), "invalid argument: Modelfile, line 2: a value is missing");
  EXPECT_EQ(refusal("FROM x\nSYSTEM \"\"\"y\nz"), "invalid argument: Modelfile, line 2: no \"\"\" ends this text");
  EXPECT_EQ(refusal("FROM x\nMESSAGE king y"),
            "invalid argument: Modelfile, line 2: MESSAGE is of system, user or assistant, not of 'king'");
  EXPECT_THAT(refusal("FROM x\nFROM y\nFROM z"), HasSubstr("unsupported: Modelfile, line 3: a model has one file"));
}

}  // namespace
}  // namespace spillway
