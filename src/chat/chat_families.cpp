// SPDX-License-Identifier: MIT
#include "chat/chat_families.h"

#include "chat/json_text.h"

namespace spillway {
namespace {

const std::vector<ChatFamily>& all_families() {
  // clang-format off
  static const std::vector<ChatFamily> kFamilies = {
      {.name = "gpt-oss", .tokens = {"<|start|>", "<|channel|>", "<|message|>"},
       .system_begin = "<|start|>system<|message|>", .system_end = "<|end|>",
       .user_begin = "<|start|>user<|message|>", .user_end = "<|end|>",
       .assistant_begin = "<|start|>assistant<|channel|>final<|message|>", .assistant_end = "<|end|>",
       .answer_begin = "<|start|>assistant", .stop = {"<|return|>"}},
      {.name = "Llama 4", .tokens = {"<|header_start|>", "<|header_end|>", "<|eot|>"},
       .system_begin = "<|header_start|>system<|header_end|>\n\n", .system_end = "<|eot|>",
       .user_begin = "<|header_start|>user<|header_end|>\n\n", .user_end = "<|eot|>",
       .assistant_begin = "<|header_start|>assistant<|header_end|>\n\n", .assistant_end = "<|eot|>",
       .stop = {"<|eot|>", "<|header_start|>"}},
      {.name = "Llama 3", .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
       .system_begin = "<|start_header_id|>system<|end_header_id|>\n\n", .system_end = "<|eot_id|>",
       .user_begin = "<|start_header_id|>user<|end_header_id|>\n\n", .user_end = "<|eot_id|>",
       .assistant_begin = "<|start_header_id|>assistant<|end_header_id|>\n\n", .assistant_end = "<|eot_id|>",
       .stop = {"<|eot_id|>", "<|start_header_id|>"}},
      {.name = "Gemma", .tokens = {"<start_of_turn>", "<end_of_turn>"},
       .user_begin = "<start_of_turn>user\n", .user_end = "<end_of_turn>\n",
       .assistant_begin = "<start_of_turn>model\n", .assistant_end = "<end_of_turn>\n",
       .stop = {"<end_of_turn>", "<start_of_turn>"}},
      {.name = "Gemma 4", .tokens = {"<|turn>", "<turn|>"},
       .system_begin = "<|turn>system\n", .system_end = "<turn|>\n",
       .user_begin = "<|turn>user\n", .user_end = "<turn|>\n",
       .assistant_begin = "<|turn>model\n", .assistant_end = "<turn|>\n", .stop = {"<turn|>", "<|turn>"}},
      {.name = "Kimi", .tokens = {"<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"},
       .system_begin = "<|im_system|>system<|im_middle|>", .system_end = "<|im_end|>",
       .user_begin = "<|im_user|>user<|im_middle|>", .user_end = "<|im_end|>",
       .assistant_begin = "<|im_assistant|>assistant<|im_middle|>", .assistant_end = "<|im_end|>",
       .stop = {"<|im_end|>", "<|im_user|>"}},
      {.name = "ChatML", .tokens = {"<|im_start|>", "<|im_end|>"},
       .system_begin = "<|im_start|>system\n", .system_end = "<|im_end|>\n",
       .user_begin = "<|im_start|>user\n", .user_end = "<|im_end|>\n",
       .assistant_begin = "<|im_start|>assistant\n", .assistant_end = "<|im_end|>\n",
       .stop = {"<|im_end|>", "<|im_start|>"}},
      {.name = "DeepSeek", .tokens = {"<｜User｜>", "<｜Assistant｜>"},
       .system_begin = "", .system_end = "", .user_begin = "<｜User｜>", .user_end = "",
       .assistant_begin = "<｜Assistant｜>", .assistant_end = "<｜end▁of▁sentence｜>",
       .stop = {"<｜end▁of▁sentence｜>", "<｜User｜>"}},
      {.name = "Command R",
       .tokens = {"<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"},
       .system_begin = "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", .system_end = "<|END_OF_TURN_TOKEN|>",
       .user_begin = "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", .user_end = "<|END_OF_TURN_TOKEN|>",
       .assistant_begin = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", .assistant_end = "<|END_OF_TURN_TOKEN|>",
       .stop = {"<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>"}},
      {.name = "Granite", .tokens = {"<|start_of_role|>", "<|end_of_role|>"},
       .system_begin = "<|start_of_role|>system<|end_of_role|>", .system_end = "<|end_of_text|>\n",
       .user_begin = "<|start_of_role|>user<|end_of_role|>", .user_end = "<|end_of_text|>\n",
       .assistant_begin = "<|start_of_role|>assistant<|end_of_role|>", .assistant_end = "<|end_of_text|>\n",
       .stop = {"<|end_of_text|>", "<|start_of_role|>"}},
      {.name = "MiniMax", .tokens = {"]~b]", "[e~["},
       .system_begin = "]~b]system\n", .system_end = "[e~[\n", .user_begin = "]~b]user\n", .user_end = "[e~[\n",
       .assistant_begin = "]~b]ai\n", .assistant_end = "[e~[\n", .stop = {"[e~[", "]~b]"}},
      {.name = "EXAONE", .tokens = {"[|user|]", "[|assistant|]", "[|endofturn|]"},
       .system_begin = "[|system|]\n", .system_end = "[|endofturn|]\n",
       .user_begin = "[|user|]\n", .user_end = "[|endofturn|]\n",
       .assistant_begin = "[|assistant|]\n", .assistant_end = "[|endofturn|]\n",
       .stop = {"[|endofturn|]", "[|user|]"}},
      {.name = "Apertus", .tokens = {"<|user_start|>", "<|user_end|>", "<|assistant_start|>"},
       .system_begin = "<|system_start|>", .system_end = "<|system_end|>",
       .user_begin = "<|user_start|>", .user_end = "<|user_end|>",
       .assistant_begin = "<|assistant_start|>", .assistant_end = "<|assistant_end|>",
       .stop = {"<|assistant_end|>", "<|user_start|>"}},
      {.name = "Seed", .tokens = {"<seed:bos>", "<seed:eos>"},
       .system_begin = "<seed:bos>system\n", .system_end = "<seed:eos>",
       .user_begin = "<seed:bos>user\n", .user_end = "<seed:eos>",
       .assistant_begin = "<seed:bos>assistant\n", .assistant_end = "<seed:eos>", .stop = {"<seed:eos>", "<seed:bos>"}},
      {.name = "GLM", .tokens = {"[gMASK]", "<|user|>", "<|assistant|>"}, .begin = "[gMASK]<sop>",
       .system_begin = "<|system|>\n", .user_begin = "<|user|>\n",
       .assistant_begin = "<|assistant|>\n", .stop = {"<|user|>", "<|endoftext|>"}},
      {.name = "Phi", .tokens = {"<|user|>", "<|assistant|>", "<|end|>"},
       .system_begin = "<|system|>\n", .system_end = "<|end|>\n",
       .user_begin = "<|user|>\n", .user_end = "<|end|>\n",
       .assistant_begin = "<|assistant|>\n", .assistant_end = "<|end|>\n", .stop = {"<|end|>", "<|user|>"}},
      {.name = "Zephyr", .tokens = {"<|user|>", "<|assistant|>"},
       .system_begin = "<|system|>\n", .system_end = "\n", .user_begin = "<|user|>\n", .user_end = "\n",
       .assistant_begin = "<|assistant|>\n", .assistant_end = "\n", .stop = {"<|user|>"}},
      {.name = "Mistral", .tokens = {"[SYSTEM_PROMPT]", "[INST]", "[/INST]"},
       .system_begin = "[SYSTEM_PROMPT]", .system_end = "[/SYSTEM_PROMPT]",
       .user_begin = "[INST]", .user_end = "[/INST]", .assistant_end = "</s>", .stop = {"</s>", "[INST]"}},
      {.name = "Mistral", .tokens = {"[INST]", "[/INST]"},
       .user_begin = "[INST] ", .user_end = "[/INST]", .assistant_end = "</s>", .stop = {"</s>", "[INST]"}},
  };
  // clang-format on
  return kFamilies;
}

}  // namespace

std::span<const ChatFamily> chat_families() { return all_families(); }

const ChatFamily& plain_turns() {
  static const ChatFamily kPlain = {.name = "plain",
                                    .system_begin = "",
                                    .system_end = "\n\n",
                                    .user_begin = "User: ",
                                    .user_end = "\n\n",
                                    .assistant_begin = "Assistant: ",
                                    .assistant_end = "\n\n",
                                    .answer_begin = "Assistant:",
                                    .stop = {"\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:"}};
  return kPlain;
}

// A role that is none of the three speaks as the user does: the answers of tools do in many templates.
std::string template_of(const ChatFamily& family) {
  const auto written = [](const char* text) { return "{{ " + json_string(text) + " }}"; };
  const auto turn = [&](const char* begin, const char* end) {
    return written(begin) + "{{ message.content }}" + written(end);
  };
  std::string text = "{% for message in messages %}{% if loop.first %}" + written(family.begin) + "{% endif %}";
  text += "{% if message.role == 'assistant' %}" + turn(family.assistant_begin, family.assistant_end);
  text += "{% elif message.role == 'system' %}";
  if (family.system_begin != nullptr) text += turn(family.system_begin, family.system_end);
  text += "{% else %}" + turn(family.user_begin, family.user_end) + "{% endif %}{% endfor %}";
  text += "{% if add_generation_prompt %}";
  text += written(family.answer_begin != nullptr ? family.answer_begin : family.assistant_begin) + "{% endif %}";
  return text;
}

}  // namespace spillway
