// SPDX-License-Identifier: MIT
#include "serve/web_head.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

namespace spillway {
namespace {

std::optional<std::string> without_percents(std::string_view text, bool plus_is_space) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      plain += ' ';
    } else if (text[i] != '%') {
      plain += text[i];
    } else {
      unsigned code = 0;
      if (i + 2 >= text.size()) return std::nullopt;
      const char* const digits = text.data() + i + 1;
      if (std::from_chars(digits, digits + 2, code, 16).ptr != digits + 2) return std::nullopt;
      plain += static_cast<char>(code);
      i += 2;
    }
  }
  return plain;
}

// Nothing that could end the line.
bool is_header_value(std::string_view value) {
  for (const char c : value)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return false;
  return true;
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  gmtime_r(&now, &date);
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[date.tm_wday], date.tm_mday, kMonths[date.tm_mon],
                     date.tm_year + 1900, date.tm_hour, date.tm_min, date.tm_sec);
}

}  // namespace

Result<void> read_target(std::string_view target, WebRequest& request) {
  const auto wrong = [] { return error(Code::kInvalidArgument, "a request for no path"); };
  for (const char* scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t begin = std::string_view(scheme).size();
    const size_t path = std::min(target.find_first_of("/?#", begin), target.size());
    const std::string_view host = target.substr(begin, path - begin);
    if (host.empty() || host.find('@') != std::string_view::npos) return wrong();
    request.headers.erase("host");
    request.headers.emplace("host", std::string(host));
    target = path == target.size() ? "/" : target.substr(path);
    break;
  }
  target = target.substr(0, target.find('#'));
  if (target == "*") {
    request.path.assign(1, '*');
    return {};
  }
  if (!target.starts_with('/') && !target.starts_with('?')) return wrong();
  const size_t mark = std::min(target.find('?'), target.size());
  const auto path = without_percents(target.substr(0, mark), false);
  if (!path) return wrong();
  request.path = *path;
  if (request.path.empty()) request.path.push_back('/');
  for (std::string_view rest = target.substr(std::min(mark + 1, target.size())); !rest.empty();) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    const auto name = without_percents(pair.substr(0, equals), true);
    const auto value = without_percents(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return wrong();
    if (!pair.empty()) request.query.emplace(*name, *value);
  }
  return {};
}

std::string reply_head(const WebReply& reply, const ReplyHead& head) {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nServer: spillway\r\nDate: {}\r\n", reply.status,
                                 reason_of(reply.status), http_date());
  const auto add = [&](std::string_view name, std::string_view value) {
    if (is_header_value(value)) text += fmt::format("{}: {}\r\n", name, value);
  };
  if (!reply.content_type.empty()) add("Content-Type", reply.content_type);
  if (reply.status != 204 && reply.status != 304) {
    if (head.content_length)
      add("Content-Length", std::to_string(*head.content_length));
    else if (!head.is_http_1_0)
      add("Transfer-Encoding", "chunked");
  }
  for (const auto& [name, value] : reply.headers) add(name, value);
  if (head.closes)
    add("Connection", "close");
  else if (head.is_http_1_0)
    add("Connection", "keep-alive");
  text += "\r\n";
  return text;
}

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    case 529:
      return "Overloaded";
    default:
      return status < 400 ? "OK" : "Error";
  }
}

}  // namespace spillway
