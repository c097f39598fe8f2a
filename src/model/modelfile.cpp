// SPDX-License-Identifier: MIT
#include "model/modelfile.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/jinja_text.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/utf8.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// Objects that keep their order look through all names for each.
constexpr size_t kParametersMax = 1000;

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

bool is_role(std::string_view role) { return role == "system" || role == "user" || role == "assistant"; }

// Calls `line(name, value)` for each value: an array has several.
template <typename Line>
void for_each_value(const Json& parameters, const Line& line) {
  for (const auto& [name, value] : parameters.items()) {
    if (!value.is_array()) {
      line(name, write_json(value));
      continue;
    }
    for (const Json& one : value) line(name, write_json(one));
  }
}

// Three quotes around what may span lines; what has three of its own is written as JSON, on one line.
std::string block(const std::string& keyword, const std::string& text) {
  if (text.empty()) return "";
  if (text.find("\"\"\"") != std::string::npos) return fmt::format("{} {}\n", keyword, write_json(Json(text)));
  return fmt::format("{} \"\"\"{}\"\"\"\n", keyword, text);
}

// On one line: as it is where it is read as that again, else as JSON. Of a model that somebody made, it may be
// anything.
std::string instruction(const std::string& keyword, const std::string& value) {
  if (value.empty()) return "";
  const bool is_plain =
      trimmed(value) == value && !value.starts_with('"') && value.find_first_of("\r\n") == std::string::npos;
  return fmt::format("{} {}\n", keyword, is_plain ? value : write_json(Json(value)));
}

// ---- reading ----

constexpr std::string_view kQuotes = "\"\"\"";

class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    ++number_;
    return true;
  }
  // What stands from `begin`, a part of the last line, to the end of the line in which `quotes` are the last.
  std::optional<std::string> until_line_that_ends_in(std::string_view quotes, std::string_view begin) {
    std::string text;
    std::string_view line = begin;
    do {
      const std::string_view end = trimmed(line);
      if (end.ends_with(quotes)) {
        const auto kept = static_cast<size_t>(end.data() + end.size() - quotes.size() - line.data());
        return text += line.substr(0, kept);
      }
      text += line;
      text += '\n';
    } while (next(line));
    return std::nullopt;
  }
  size_t number() const { return number_; }

 private:
  std::string_view rest_;
  size_t number_ = 0;
};

Failure at_line(size_t number, const std::string& what, Code code = Code::kInvalidArgument) {
  return error(code, fmt::format("Modelfile, line {}: {}", number, what));
}

// What stands behind an instruction. Within single quotes a text is taken as JSON where it is that: so "\n" is a line
// break, as "spillway show" writes it.
Result<std::string> read_value(std::string_view rest, Lines& lines) {
  const size_t number = lines.number();
  if (rest.empty()) return at_line(number, "a value is missing");
  const std::string_view quotes = rest.starts_with(kQuotes) ? kQuotes : kQuotes.substr(0, 1);
  if (!rest.starts_with(quotes)) return std::string(rest);
  auto text = lines.until_line_that_ends_in(quotes, rest.substr(quotes.size()));
  if (!text) return at_line(number, fmt::format("no {} ends this text", quotes));
  if (quotes == kQuotes) return std::move(*text);
  const Json json = read_json("\"" + *text + "\"").value_or(Json());
  return json.is_string() ? json.get<std::string>() : std::move(*text);
}

std::string_view take_word(std::string_view& text) {
  const size_t end = std::min(text.find_first_of(kBlanks), text.size());
  const std::string_view word = text.substr(0, end);
  text = trimmed(text.substr(end));
  return word;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

Result<void> add_message(CreateRequest& request, const std::string& role, std::string content, size_t number) {
  if (!is_role(role))
    return at_line(number, fmt::format("MESSAGE is of system, user or assistant, not of '{}'", role.substr(0, 40)));
  if (!request.messages) request.messages.emplace();
  request.messages->push_back({role, std::move(content)});
  return {};
}

Result<void> obey(std::string_view line, Lines& lines, CreateRequest& request) {
  const size_t number = lines.number();
  const std::string word = upper(take_word(line));
  if (word == "PARAMETER" || word == "MESSAGE") {
    const std::string name(take_word(line));
    ASSIGN_OR_RETURN(std::string value, read_value(line, lines));
    if (word == "MESSAGE") return add_message(request, name, std::move(value), number);
    if (request.parameters.size() >= kParametersMax && !request.parameters.contains(name))
      return at_line(number, fmt::format("more than {} parameters", kParametersMax));
    add_parameter(request.parameters, name, value);
    return {};
  }
  if (word == "FROM" && !request.projector.empty())
    return at_line(number, "a model has one file, and one projector of images", Code::kUnsupported);
  std::optional<std::string>* const to = word == "TEMPLATE"   ? &request.template_text
                                         : word == "SYSTEM"   ? &request.system
                                         : word == "RENDERER" ? &request.renderer
                                         : word == "PARSER"   ? &request.parser
                                         : word == "REQUIRES" ? &request.requires_version
                                                              : nullptr;
  if (to == nullptr && word != "FROM" && word != "LICENSE" && word != "ADAPTER")
    return at_line(number,
                   fmt::format("'{}' is no instruction; there are FROM, ADAPTER, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, "
                               "LICENSE, RENDERER, PARSER, REQUIRES",
                               valid_utf8(word.substr(0, 40))));
  ASSIGN_OR_RETURN(std::string value, read_value(line, lines));
  if (word == "FROM") {
    (request.from.empty() ? request.from : request.projector) = std::move(value);
  } else if (word == "ADAPTER") {
    request.adapter_paths.push_back(std::move(value));
  } else if (word == "LICENSE") {
    if (!request.licenses) request.licenses.emplace();
    request.licenses->push_back(std::move(value));
  } else {
    *to = std::move(value);
  }
  return {};
}

// As Go reads it, in which Modelfiles are at home: "+0.5", ".7", "1." and "007" are none in JSON. Null: it is none.
Json go_number(std::string_view text) {
  if (text.starts_with("+-") || text.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return {};
  if (text.starts_with('+')) text.remove_prefix(1);
  const char *begin = text.data(), *end = begin + text.size();
  int64_t whole = 0;
  if (const auto read = std::from_chars(begin, end, whole); read.ptr == end && read.ec == std::errc()) return whole;
  double real = 0;
  if (const auto read = std::from_chars(begin, end, real); read.ptr == end && read.ec == std::errc()) return real;
  return {};
}

bool is_parameter(const Json& value) {
  const auto is_text = [](const Json& one) { return one.is_string(); };
  return value.is_number() || value.is_boolean() || value.is_string() ||
         (value.is_array() && std::all_of(value.begin(), value.end(), is_text));
}

}  // namespace

std::string parameters_text(const Json& parameters) {
  std::string text;
  for_each_value(parameters, [&](const std::string& name, const std::string& value) {
    text += fmt::format("{}{:<30} {}", text.empty() ? "" : "\n", name, value);
  });
  return text;
}

std::string modelfile_text(const std::string& from, const ModelExtras& extras) {
  // Of a model that somebody made, a name may hold whole instructions.
  const auto is_word = [](const std::string& name) {
    return !name.empty() && name.find_first_of(" \t\r\n\"") == std::string::npos;
  };
  std::string text =
      "# Written by \"spillway show\"\n" + instruction("FROM", from) + instruction("FROM", extras.projector_path);
  for (const std::string& path : extras.adapter_paths) text += instruction("ADAPTER", path);
  if (!extras.template_is_gguf) text += block("TEMPLATE", extras.template_text);  // else FROM has it
  text += instruction("RENDERER", extras.renderer) + instruction("PARSER", extras.parser);
  text += instruction("REQUIRES", extras.requires_version);
  text += block("SYSTEM", extras.system);
  for_each_value(extras.parameters, [&](const std::string& name, const std::string& value) {
    if (is_word(name)) text += fmt::format("PARAMETER {} {}\n", name, value);
  });
  for (const ModelMessage& message : extras.messages)
    if (is_role(message.role)) text += block(fmt::format("MESSAGE {}", message.role), message.content);
  for (const std::string& license : extras.licenses) text += block("LICENSE", license);
  return text;
}

std::string given_template(const ModelExtras& extras) {
  const bool stands_in = !extras.renderer.empty() && !is_jinja(extras.template_text);
  return extras.template_is_gguf || stands_in ? "" : extras.template_text;
}

Json parameter_value(std::string_view name, const std::string& text) {
  if (name == "stop") return text;
  Json value = read_json(text).value_or(Json());
  if (value.is_number() || value.is_boolean()) return value;
  value = go_number(text);
  return value.is_null() ? Json(text) : value;
}

void add_parameter(Json& parameters, const std::string& name, const std::string& text) {
  Json value = parameter_value(name, text);
  if (name != "stop")
    parameters[name] = std::move(value);
  else
    parameters[name].push_back(std::move(value));
}

Result<CreateRequest> parse_modelfile(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // that some editors begin a file with
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  CreateRequest request;
  Lines lines(text);
  for (std::string_view line; lines.next(line);) {
    line = trimmed(line);
    if (!line.empty() && !line.starts_with('#')) RETURN_IF_ERROR(obey(line, lines, request));
  }
  if (request.from.empty())
    return error(Code::kInvalidArgument, "the Modelfile has no FROM, which names the model to start from");
  return request;
}

Result<void> check_parameters(const Json& parameters) {
  if (!parameters.is_object()) return error(Code::kInvalidArgument, "parameters must be an object");
  if (parameters.size() > kParametersMax)
    return error(Code::kInvalidArgument, fmt::format("more than {} parameters", kParametersMax));
  for (const auto& [name, value] : parameters.items())
    if (!is_parameter(value))
      return error(Code::kInvalidArgument,
                   fmt::format("parameter \"{}\" must be a number, a boolean, a string or an array of strings",
                               name.substr(0, 60)));
  return {};
}

Json usable_parameters(const Json& stored) {
  Json usable = Json::object();
  if (!stored.is_object() || stored.size() > kParametersMax) return usable;
  for (const auto& [name, value] : stored.items())
    if (is_parameter(value)) usable[name] = value;
  return usable;
}

}  // namespace spillway
